use super::super::encoder::Encoder;
use super::super::rules::{LineRules, Portability};
use super::*;

fn encoder(portability: Portability) -> Encoder {
    Encoder::new(Default::default(), &LineRules { portability, ..LineRules::default() }).unwrap()
}

type Parts<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [(&'a str, FieldRef<'a>)]);

/// What is written for a point of these parts, if it is plain: the same as the careful way writes, as is what is written if it is not.
fn written(encoder: &Encoder, (measurement, tags, fields): Parts<'_>) -> Option<String> {
    let (mut plain, mut careful, mut unplain) = (b"7".to_vec(), b"7".to_vec(), b"7".to_vec());
    let time = || Ok((5, -5));
    let is_plain = encoder.append_plain(measurement, tags, fields, time, &mut plain).is_ok();
    let carefully = encoder.append_carefully(measurement, tags, fields, time, &mut careful);
    let unplainly = encoder.append_unplain(measurement, tags, fields, time, &mut unplain);
    assert_eq!((&unplainly, &unplain), (&carefully, &careful), "{measurement:?} {tags:?} {fields:?}");
    assert!(!is_plain || carefully.is_ok(), "{measurement:?} {tags:?} {fields:?}");
    let kept: &[u8] = if is_plain { &careful } else { b"7" };
    assert_eq!(plain, kept, "{measurement:?} {tags:?} {fields:?}");
    is_plain.then(|| String::from_utf8(plain).unwrap())
}

/// Whether it is plain, and whether the careful way writes it at all, wherever the text stands.
fn check_everywhere(encoder: &Encoder, text: &str) {
    let field = [("f", FieldRef::Boolean(true))];
    let tag = [("t", "v")];
    let points: [Parts<'_>; 5] = [
        (text, &tag, &field),
        ("m", &[(text, "v")], &field),
        ("m", &[("t", text)], &field),
        ("m", &tag, &[(text, FieldRef::Boolean(true))]),
        ("m", &tag, &[("f", FieldRef::String(text))]),
    ];
    for point in points {
        let (measurement, tags, fields) = point;
        let time = || Ok((5, -5));
        let good = encoder.append_carefully(measurement, tags, fields, time, &mut Vec::new()).is_ok();
        assert_eq!(written(encoder, point).is_some(), good, "{point:?}");
    }
}

#[test]
fn every_byte_at_every_position_of_every_length_is_written_as_the_careful_way_writes_it() {
    let encoder = encoder(Portability::AllVersions);
    for length in 1..=70 {
        for at in 0..length {
            // Bytes from 0x80 on occur only within characters, and are never special.
            for byte in 0..0x80_u8 {
                // Of the long ones those that begin and end like all others are left out.
                if length > 36 && byte % 8 != 4 && !b" ,=\"\x1f\x7f".contains(&byte) {
                    continue;
                }
                let mut text = vec![b'x'; length];
                text[at] = byte;
                check_everywhere(&encoder, &String::from_utf8(text).unwrap());
            }
        }
    }
}

#[test]
fn special_bytes_side_by_side_are_written_as_the_careful_way_writes_them() {
    for encoder in [Portability::AllVersions, Portability::V1AndV2].map(encoder) {
        for length in [2, 3, 7, 8, 9, 15, 16, 17, 18, 31, 33] {
            for at in 0..length - 1 {
                for pair in b" ,=\"\\<]|}#_\n".iter().flat_map(|a| b" ,=\"\\<]|}#_\n".map(|b| [*a, b])) {
                    let mut text = vec![b'x'; length];
                    text[at..at + 2].copy_from_slice(&pair);
                    check_everywhere(&encoder, &String::from_utf8(text).unwrap());
                }
            }
        }
        for special in [" ", ",", "=", "\"", "\\", "ü ", ",x"] {
            for times in 1..40 {
                check_everywhere(&encoder, &special.repeat(times));
            }
        }
    }
}

#[test]
fn blank_tags_are_left_out_and_hide_defaults() {
    let default_tags = [("b".to_owned(), "x".to_owned()), ("c".to_owned(), "y".to_owned())].into();
    let rules = LineRules { default_tags, ..LineRules::default() };
    let encoder = Encoder::new(Default::default(), &rules).unwrap();
    let fields = [("f", FieldRef::Boolean(true))];
    for (tags, line) in [
        ([("a", ""), ("b", "")], "7m,c=y f=t 5\n"),
        ([("b", ""), ("a", "v")], "7m,a=v,c=y f=t 5\n"),
        ([("d", ""), ("e", " ")], "7m,b=x,c=y,e=\\  f=t 5\n"),
    ] {
        assert_eq!(written(&encoder, ("m", &tags, &fields)).unwrap(), line);
    }
    assert_eq!(written(&encoder, ("m", &[("a", ""), ("a", "")], &fields)), None, "it is refused");
    let refuse = LineRules { blank_tags: Unwritable::Refuse, ..LineRules::default() };
    let encoder = Encoder::new(Default::default(), &refuse).unwrap();
    assert_eq!(written(&encoder, ("m", &[("a", "")], &fields)), None);
}

#[test]
fn tags_are_sorted_up_to_so_many() {
    let encoder = encoder(Portability::AllVersions);
    let keys: Vec<String> = (0..TAGS_SORTED_MAX + 1).map(|place| format!("{:02}", 5 * place % 37)).collect();
    let tags: Vec<_> = keys.iter().map(|key| (key.as_str(), "v")).collect();
    let fields = [("f", FieldRef::Boolean(true))];
    for count in 2..=TAGS_SORTED_MAX {
        assert!(written(&encoder, ("m", &tags[..count], &fields)).is_some(), "{count} tags");
    }
    assert_eq!(written(&encoder, ("m", &tags, &fields)), None, "the careful way sorts more");
    let twice = [tags[3], tags[1], tags[3]];
    assert_eq!(written(&encoder, ("m", &twice, &fields)), None, "it is refused");
}

/// Parts of a line by themselves.
#[derive(Clone, Copy)]
enum Piece<'a> {
    Nothing,
    Known(&'a [u8]),
    Value(FieldRef<'a>),
}

impl WritePlain for Piece<'_> {
    fn write<const ROOM: usize, const MENDS: bool>(
        self,
        line: &mut PlainLine<'_, ROOM, MENDS>,
    ) -> Option<()> {
        let settings = Settings::new(Default::default(), &Default::default());
        match self {
            Self::Nothing => Some(()),
            Self::Known(text) => line.known(text),
            Self::Value(value) => line.value(value, &Settings { unsigned: Unsigned::Write, ..settings }),
        }
    }
}

fn piece(piece: Piece<'_>, units: i64) -> String {
    let mut out = vec![b'7'];
    let Ok(encoded) = append(&mut out, piece, || Ok::<_, ()>((units, -units))) else { panic!("it is plain") };
    assert_eq!(encoded, Ok(Encoded { timestamp_nanos: -units }));
    String::from_utf8(out).unwrap()
}

/// Numbers around every power of ten, of equal digits, and drawn.
fn numbers() -> impl Iterator<Item = i64> {
    let powers = (0..19).map(|digits| 10_i64.pow(digits));
    let edges = powers.flat_map(|power| [power - 1, power, power + 1, power.saturating_mul(9)]);
    let digits = (0..10).map(|digit| 1_111_111_111_111_111_111_i64.saturating_mul(digit));
    let mut random = fastrand::Rng::with_seed(1);
    let drawn = std::iter::repeat_with(move || random.i64(..) >> random.u32(..64)).take(100_000);
    edges.chain(digits).chain([i64::MIN, i64::MAX]).chain(drawn)
}

#[test]
fn a_time_is_written_with_all_its_digits() {
    for units in numbers() {
        let line = piece(Piece::Known(b"m f=t"), units.saturating_abs());
        assert_eq!(line, format!("7m f=t {}\n", units.saturating_abs()));
        if units != i64::MIN {
            assert_eq!(piece(Piece::Nothing, units), format!("7 {units}\n"));
        }
    }
}

#[test]
fn a_whole_number_is_written_with_all_its_digits() {
    for number in numbers() {
        let unsigned = number.cast_unsigned();
        assert_eq!(piece(Piece::Value(FieldRef::Integer(number)), 5), format!("7={number}i 5\n"));
        assert_eq!(piece(Piece::Value(FieldRef::Unsigned(unsigned)), 5), format!("7={unsigned}u 5\n"));
    }
}

#[test]
fn a_reserved_name_is_not_plain_and_one_like_it_may_be() {
    let encoder = encoder(Portability::AllVersions);
    let value = FieldRef::Boolean(true);
    for (key, is_tag, is_field) in [
        ("time", false, false),
        ("_field", false, true),
        ("_measurement", false, true),
        ("tim", true, true),
        ("times", true, true),
        ("Time", true, true),
        ("_fields", true, true),
        ("_measure", false, true),
    ] {
        let tagged = written(&encoder, ("m", &[(key, "v")], &[("f", value)]));
        let named = written(&encoder, ("m", &[], &[(key, value)]));
        assert_eq!((tagged.is_some(), named.is_some()), (is_tag, is_field), "{key}");
    }
}

#[test]
fn a_time_that_is_none_is_handed_on() {
    let mut out = vec![7];
    let failed = append(&mut out, Piece::Known(b"m f=t"), || Err("no time"));
    assert_eq!((failed.map_err(drop), out), (Ok(Err("no time")), vec![7]));
}

#[test]
fn a_line_without_room_is_not_plain() {
    let encoder = encoder(Portability::AllVersions);
    for byte in ["x", " "] {
        let is_plain = |length: &usize| {
            written(&encoder, ("m", &[], &[(&byte.repeat(*length), FieldRef::String(""))])).is_some()
        };
        let lengths: Vec<usize> = (1..LONG_LINE_BYTES_MAX + 2).filter(is_plain).collect();
        assert!(lengths.is_sorted() && lengths.len() > 200, "{lengths:?}");
        assert_eq!(lengths.last(), Some(&lengths.len()));
    }
}

/// The same is given room for a long line, and is long where that ends, too.
#[test]
fn a_long_line_is_one_with_more_room() {
    let settings = Settings::new(Default::default(), &Default::default());
    let is_long = |point: Parts<'_>| {
        let (measurement, tags, fields) = point;
        append_long(&mut Vec::new(), Point { measurement, tags, fields, settings: &settings }).is_some()
    };
    for byte in ["x", " "] {
        let fits = |length: &usize| is_long(("m", &[], &[(&byte.repeat(*length), FieldRef::String(""))]));
        let lengths: Vec<usize> = (1..LONG_LINE_BYTES_MAX + 2).filter(fits).collect();
        assert!(lengths.len() > 2 * LINE_BYTES_MAX / 3, "{lengths:?}");
        assert_eq!(lengths.last(), Some(&lengths.len()));
    }
    let names: Vec<String> = (0..=80).map(|n| format!("bytes_of_kind_{n:02}")).collect();
    for count in [FIELDS_MAX, FIELDS_MAX + 1, 80] {
        let fields: Vec<_> = names[..count].iter().map(|name| (&**name, FieldRef::Integer(1))).collect();
        let plain = written(&encoder(Portability::AllVersions), ("m", &[], &fields)).is_some();
        assert_eq!((plain, is_long(("m", &[], &fields))), (count <= FIELDS_MAX, true), "{count}");
    }
}

#[derive(Clone, Copy)]
struct Point<'a> {
    measurement: &'a str,
    tags: &'a [(&'a str, &'a str)],
    fields: &'a [(&'a str, FieldRef<'a>)],
    settings: &'a Settings,
}

impl WritePlain for Point<'_> {
    fn write<const ROOM: usize, const MENDS: bool>(
        self,
        line: &mut PlainLine<'_, ROOM, MENDS>,
    ) -> Option<()> {
        line.point(self.measurement, self.tags, &[], self.fields, self.settings)
    }
}
