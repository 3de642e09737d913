//! The table of C functions, and the way from it to the system's own.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

use rusqlite::ffi;

use crate::history::Op;
use crate::{Asked, Call, Verdict, Watch};

/// A file as SQLite allocates it: ours first, the system's behind it in the same memory.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    watched: *mut Watched,
}

struct Watched {
    watch: Arc<Watch>,
    name: String,
    /// A journal or a log that was created: the system's next sync of it syncs its folder as well.
    is_new: AtomicBool,
}

/// The system's own file system.
struct System(*mut ffi::sqlite3_vfs);
// SAFETY: SQLite's file systems are made to be used from all threads.
unsafe impl Send for System {}
// SAFETY: as above.
unsafe impl Sync for System {}

static SYSTEM: std::sync::OnceLock<System> = std::sync::OnceLock::new();

/// The size of the part of [`File`] before the system's file, kept so that what is behind it is aligned.
const OURS: usize = size_of::<File>().next_multiple_of(16);

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Version 2: with shared memory for the log, without mapped reads, which nobody could judge.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Makes this layer SQLite's default file system, once.
pub(crate) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: SQLite initialises itself here; the default file system lives as long as the process.
        let system = unsafe {
            ffi::sqlite3_initialize();
            ffi::sqlite3_vfs_find(std::ptr::null())
        };
        assert!(!system.is_null(), "SQLite has a file system");
        let _ = SYSTEM.set(System(system));
        // SAFETY: it was just found. A copy works as the original does, since its functions ask the table for nothing but
        // `pAppData`.
        let mut ours = unsafe { *system };
        ours.zName = c"faulty".as_ptr();
        ours.szOsFile += OURS as c_int;
        ours.pNext = std::ptr::null_mut();
        ours.xOpen = Some(open);
        ours.xDelete = Some(delete);
        // SAFETY: the table lives as long as the process, since the box is leaked.
        let code = unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(ours)), 1) };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite takes the file system");
    });
}

fn system() -> *mut ffi::sqlite3_vfs {
    SYSTEM.get().expect("set before the first file is opened").0
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: the system's file system is complete, and what it is passed is what SQLite passed.
    let open = |file| unsafe {
        (*system()).xOpen.map_or(ffi::SQLITE_CANTOPEN, |open| open(system(), name, file, flags, flags_out))
    };
    // SAFETY: SQLite's names are C strings, or null for temporary files.
    let Some((watch, name)) = (unsafe { watched(name) }) else { return open(file) };
    let ours = file.cast::<File>();
    // SAFETY: SQLite allocated `szOsFile` bytes, enough for ours and the system's. Null methods mean that the file is not open.
    unsafe { (*ours).base.pMethods = std::ptr::null() };
    let existed = watch.path(&name).exists();
    match watch.ask(&Asked { file: &name, call: Call::Open }) {
        Verdict::Pass => {}
        Verdict::Full => return ffi::SQLITE_FULL,
        Verdict::IoError | Verdict::Torn(_) => return ffi::SQLITE_CANTOPEN,
    }
    // SAFETY: `ours` is the file just described.
    let code = open(unsafe { system_file(file) });
    if code == ffi::SQLITE_OK {
        if !existed {
            watch.note(|| Op::Create { file: name.clone() });
        }
        let journal = ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_WAL;
        let is_new = AtomicBool::new(!existed && flags & journal != 0);
        let watched = Box::into_raw(Box::new(Watched { watch, name, is_new }));
        // SAFETY: as above; the system's part is open.
        unsafe {
            (*ours).watched = watched;
            (*ours).base.pMethods = &raw const METHODS;
        }
    }
    code
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    // SAFETY: SQLite's names are C strings.
    let found = unsafe { watched(name) };
    if let Some((watch, file)) = &found {
        match watch.ask(&Asked { file, call: Call::Delete }) {
            Verdict::Pass => {}
            _ => return ffi::SQLITE_IOERR_DELETE,
        }
    }
    // SAFETY: the system's file system is complete.
    let code = unsafe {
        (*system()).xDelete.map_or(ffi::SQLITE_IOERR_DELETE, |delete| delete(system(), name, sync_folder))
    };
    if let (Some((watch, file)), ffi::SQLITE_OK) = (found, code) {
        watch.note(|| Op::Delete { file, folder: sync_folder != 0 });
    }
    code
}

/// # Safety
/// `name` is null or a C string.
unsafe fn watched(name: *const c_char) -> Option<(Arc<Watch>, String)> {
    if name.is_null() {
        return None;
    }
    // SAFETY: promised by the caller.
    let name = unsafe { CStr::from_ptr(name) }.to_str().ok()?;
    Watch::of(Path::new(name))
}

/// # Safety
/// `file` was allocated by SQLite for this file system.
unsafe fn system_file(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: promised by the caller: the memory goes on behind ours.
    unsafe { file.cast::<u8>().add(OURS).cast() }
}

/// # Safety
/// `file` was opened by [`open`] as a watched one and is not closed.
unsafe fn seen<'a>(file: *mut ffi::sqlite3_file) -> &'a Watched {
    // SAFETY: promised by the caller; it lives until `close`, and SQLite uses a file from one thread at a time.
    unsafe { &*(*file.cast::<File>()).watched }
}

/// Calls the system's own function on the system's own file.
macro_rules! pass {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        // SAFETY: SQLite calls methods of files that `open` opened, with the arguments that the method takes, and those
        // are passed on as they are. The system's file was opened along with ours.
        unsafe {
            let file = system_file($file);
            match (*(*file).pMethods).$method {
                Some(method) => method(file $(, $argument)*),
                None => ffi::SQLITE_IOERR,
            }
        }
    }};
}

/// What a judge says of a call: `Err` with the code for SQLite, `Ok` with how much of a write is done.
fn judge(file: *mut ffi::sqlite3_file, call: Call<'_>, io_error: c_int) -> Result<Option<usize>, c_int> {
    // SAFETY: called from the methods of a watched file only.
    let Watched { watch, name, .. } = unsafe { seen(file) };
    match watch.ask(&Asked { file: name, call }) {
        Verdict::Pass => Ok(None),
        Verdict::IoError => Err(io_error),
        Verdict::Full => Err(ffi::SQLITE_FULL),
        Verdict::Torn(bytes) => Ok(Some(bytes)),
    }
}

fn note(file: *mut ffi::sqlite3_file, op: impl FnOnce(String) -> Op) {
    // SAFETY: called from the methods of a watched file only.
    let Watched { watch, name, .. } = unsafe { seen(file) };
    watch.note(|| op(name.clone()));
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let code = pass!(file, xClose);
    // SAFETY: boxed in `open`, and SQLite closes a file once.
    drop(unsafe { Box::from_raw((*file.cast::<File>()).watched) });
    code
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let call = Call::Read { at: at.unsigned_abs(), len: len.unsigned_abs() as usize };
    match judge(file, call, ffi::SQLITE_IOERR_READ) {
        Ok(_) => pass!(file, xRead, to, len, at),
        Err(code) => code,
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite hands over `len` bytes to be written.
    let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), len.unsigned_abs() as usize) };
    let offset = at.unsigned_abs();
    let torn = match judge(file, Call::Write { at: offset, bytes }, ffi::SQLITE_IOERR_WRITE) {
        Ok(torn) => torn.map(|torn| torn.min(bytes.len())),
        Err(code) => return code,
    };
    let done = torn.unwrap_or(bytes.len());
    let code = pass!(file, xWrite, from, done as c_int, at);
    if code == ffi::SQLITE_OK {
        note(file, |file| Op::Write { file, at: offset, bytes: bytes[..done].to_vec() });
    }
    if torn.is_some() { ffi::SQLITE_IOERR_WRITE } else { code }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: ffi::sqlite3_int64) -> c_int {
    let len_bytes = len.unsigned_abs();
    if let Err(code) = judge(file, Call::Truncate { len: len_bytes }, ffi::SQLITE_IOERR_TRUNCATE) {
        return code;
    }
    let code = pass!(file, xTruncate, len);
    if code == ffi::SQLITE_OK {
        note(file, |file| Op::Truncate { file, len: len_bytes });
    }
    code
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    if let Err(code) = judge(file, Call::Sync, ffi::SQLITE_IOERR_FSYNC) {
        note(file, |file| Op::SyncFailed { file });
        return code;
    }
    let code = pass!(file, xSync, flags);
    if code == ffi::SQLITE_OK {
        // SAFETY: called by SQLite for a file that is open.
        let folder = unsafe { seen(file) }.is_new.swap(false, Ordering::Relaxed);
        note(file, |file| Op::Sync { file, folder });
    }
    code
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    pass!(file, xFileSize, size)
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    pass!(file, xLock, level)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    pass!(file, xUnlock, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, held: *mut c_int) -> c_int {
    pass!(file, xCheckReservedLock, held)
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, op: c_int, argument: *mut c_void) -> c_int {
    pass!(file, xFileControl, op, argument)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xDeviceCharacteristics)
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    mapped: *mut *mut c_void,
) -> c_int {
    pass!(file, xShmMap, region, size, extend, mapped)
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    pass!(file, xShmLock, offset, count, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as in `pass!`; this one returns nothing.
    unsafe {
        let file = system_file(file);
        if let Some(barrier) = (*(*file).pMethods).xShmBarrier {
            barrier(file);
        }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    pass!(file, xShmUnmap, delete)
}
