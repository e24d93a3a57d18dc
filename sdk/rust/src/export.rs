//! The module as the host sees it: marker, arena, imports. Without Wasm, stand-ins.

use crate::batch::{Call, Kind};
use crate::Error;

/// Opens a batch, asks the policy, and answers.
///
/// SAFETY: base is the address of room bytes that nobody else uses meanwhile.
pub(crate) unsafe fn answer<'a, K: Kind<'a>>(
    base: *mut u8, room: usize, policy: impl FnOnce(&mut K) -> Result<(), Error>,
) -> Result<(), Error> {
    let call = Call::open(base, room, K::KIND).ok_or(Error::BadInput("this is no batch"))?;
    let result = match call.read::<K>() {
        Some(mut batch) => policy(&mut batch),
        None => Err(Error::BadInput("a column is not what the schema says")),
    };
    if let Err(e) = result {
        call.say(e.status().1);
    }
    result
}

fn status(result: Result<(), Error>) -> u32 {
    result.map_or_else(|e| e.status().0, |()| 0)
}

#[cfg(target_arch = "wasm32")]
mod module {
    use super::*;
    use core::arch::wasm32;

    #[link(wasm_import_module = "muster_v1")]
    extern "C" {
        #[link_name = "log"]
        fn host_log(level: i32, at: *const u8, len: usize);
        #[link_name = "counter_add"]
        fn host_counter_add(id: u32, value: i64);
    }

    extern "C" {
        static __heap_base: u8;
    }

    // A module has one thread and one call at a time.
    static mut ARENA_END: usize = 0;
    static mut SCRATCH_END: usize = 0;

    fn arena() -> usize {
        // Only its address is used.
        (unsafe { &__heap_base } as *const u8 as usize + 63) & !63
    }

    fn grow_to(end: u64) -> bool {
        let have = (wasm32::memory_size(0) as u64) << 16;
        let pages = (end.saturating_sub(have) + 0xffff) >> 16;
        pages == 0 || pages < 65536 && wasm32::memory_grow(0, pages as usize) != usize::MAX
    }

    /// The marker of the ABI's major version; never called.
    #[no_mangle]
    pub extern "C" fn muster_abi_v1() {}

    /// Lends the host an arena; 0 refuses.
    #[no_mangle]
    pub extern "C" fn muster_reserve(bytes: u32) -> usize {
        if !grow_to(arena() as u64 + bytes as u64) {
            return 0;
        }
        unsafe { ARENA_END = arena() + bytes as usize };
        arena()
    }

    /// Answers one batch.
    pub fn serve<'a, K: Kind<'a>>(batch: u32, policy: impl FnOnce(&mut K) -> Result<(), Error>) -> u32 {
        let (at, end) = (batch as usize, unsafe { ARENA_END });
        if at < arena() || at >= end {
            return status(Err(Error::BadInput("")));
        }
        // SAFETY: during a call the arena is the guest's alone.
        unsafe {
            SCRATCH_END = end;
            status(answer(at as *mut u8, end - at, policy))
        }
    }

    pub(crate) fn scratch<'a>(n: usize) -> Option<&'a mut [i64]> {
        // SAFETY: the space lies behind the arena and behind all scratch of this call.
        unsafe {
            let at = (SCRATCH_END + 63) & !63;
            let end = at as u64 + 8 * n as u64;
            if n > 1 << 28 || !grow_to(end) {
                return None;
            }
            SCRATCH_END = end as usize;
            let s = core::slice::from_raw_parts_mut(at as *mut i64, n);
            s.fill(0);
            Some(s)
        }
    }

    /// One line for the log of the host; level -1 debug, 0 info, 1 warning, 2 error.
    pub fn log(level: i32, line: &str) {
        unsafe { host_log(level, line.as_ptr(), line.len()) }
    }

    /// Adds to counter 0 to 63 of the policy.
    pub fn count(id: u32, value: i64) {
        unsafe { host_counter_add(id, value) }
    }

    /// A panic logs its place and traps.
    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo) -> ! {
        let mut line = [0u8; 128];
        let mut n = 0;
        let mut put = |s: &[u8]| {
            for &b in s.iter().take(line.len() - n) {
                line[n] = b;
                n += 1;
            }
        };
        put(b"panic");
        if let Some(at) = info.location() {
            put(b" at ");
            let file = at.file().as_bytes();
            put(file.get(file.len().saturating_sub(80)..).unwrap_or(file));
            put(b":");
            let (mut digits, mut first, mut rest) = ([0u8; 10], 10, at.line());
            while rest > 0 && first > 0 {
                first -= 1;
                digits[first] = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            put(digits.get(first..).unwrap_or(&[]));
        }
        unsafe { host_log(2, line.as_ptr(), n) };
        wasm32::unreachable()
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod module {
    use super::*;
    use crate::wire::Bytes;

    /// Answers one batch.
    pub fn serve<'a, K: Kind<'a>>(batch: &'a mut Bytes, policy: impl FnOnce(&mut K) -> Result<(), Error>) -> u32 {
        let (base, room) = batch.raw();
        // SAFETY: the bytes are borrowed for as long as the policy sees them.
        status(unsafe { answer(base, room, policy) })
    }

    /// Lives until the test ends.
    pub(crate) fn scratch<'a>(n: usize) -> Option<&'a mut [i64]> {
        Some(Box::leak(vec![0; n].into_boxed_slice()))
    }

    /// One line for the log of the host; level -1 debug, 0 info, 1 warning, 2 error.
    /// Without Wasm it goes to stderr.
    pub fn log(level: i32, line: &str) {
        eprintln!("log {}: {}", level, line);
    }

    /// Adds to counter 0 to 63 of the policy. Without Wasm nobody listens.
    pub fn count(_id: u32, _value: i64) {}
}

pub(crate) use module::scratch;
pub use module::{count, log, serve};
