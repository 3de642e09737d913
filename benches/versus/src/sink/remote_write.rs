//! Counts the samples of a body of Prometheus' remote write, which is what vmagent sends.
//!
//! A body is a `WriteRequest` (prometheus/prompb/remote.proto) under snappy's block format. Of its fields only the
//! samples are looked for: `WriteRequest.timeseries` is field 1, `TimeSeries.samples` field 2, both of wire type 2.

use anyhow::{Context as _, Result, bail};

const LENGTH_DELIMITED: u64 = 2;

pub fn samples(body: &[u8]) -> Result<u64> {
    let plain = snap::raw::Decoder::new().decompress_vec(body).context("unpack snappy")?;
    let mut samples = 0;
    for_each_message(&plain, 1, |series| {
        for_each_message(series, 2, |_| {
            samples += 1;
            Ok(())
        })
    })?;
    Ok(samples)
}

/// Calls `found` with each message that stands in field `number`.
fn for_each_message(mut rest: &[u8], number: u64, mut found: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => drop(varint(&mut rest)?),
            1 => drop(take(&mut rest, 8)?),
            LENGTH_DELIMITED => {
                let length = varint(&mut rest)?;
                let message = take(&mut rest, length as usize)?;
                if key >> 3 == number {
                    found(message)?;
                }
            }
            5 => drop(take(&mut rest, 4)?),
            other => bail!("wire type {other}"),
        }
    }
    Ok(())
}

fn varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a varint of more than ten bytes")
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length).context("a message that is cut off")?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_counted_and_the_rest_is_passed_over() {
        // Two series: a label and two samples; one sample. Then a field that is none of ours.
        let series = |labels: &[u8], samples: usize| {
            let mut message = vec![0x0a, labels.len() as u8];
            message.extend(labels);
            for _ in 0..samples {
                message.extend([0x12, 11, 0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 5]);
            }
            message
        };
        let mut request = Vec::new();
        for message in [series(b"ab", 2), series(b"", 1)] {
            request.extend([0x0a, message.len() as u8]);
            request.extend(message);
        }
        request.extend([0x18, 0x96, 0x01]);
        let body = snap::raw::Encoder::new().compress_vec(&request).unwrap();
        assert_eq!(samples(&body).unwrap(), 3);
        assert!(samples(&body[..body.len() - 1]).is_err());
    }
}
