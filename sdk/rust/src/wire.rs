//! Batches as the host writes them, for tests without Wasm.

use crate::batch::Kind;
use crate::{export, Error, Param};

/// What is common to the batches of all kinds.
#[derive(Clone, Debug)]
pub struct Header {
    /// Rows.
    pub n: usize,
    /// Resources.
    pub r: usize,
    /// Time of the cycle, ns.
    pub now: i64,
    /// Number of the cycle.
    pub cycle: u64,
    /// A number derived from the cycle.
    pub seed: u64,
    /// The params, in the order of policy.yaml.
    pub params: Vec<Param>,
    /// Sizes of the header and of a descriptor: later versions make them longer.
    pub strides: (usize, usize),
}

impl Default for Header {
    fn default() -> Self {
        Header { n: 0, r: 0, now: 0, cycle: 0, seed: 0, params: Vec::new(), strides: (128, 32) }
    }
}

/// The texts of a batch.
#[derive(Default)]
pub struct Dictionary(Vec<String>);

impl Dictionary {
    pub(crate) fn index(&mut self, text: &str) -> u32 {
        let at = self.0.iter().position(|s| s == text).unwrap_or_else(|| {
            self.0.push(text.to_string());
            self.0.len() - 1
        });
        at as u32
    }

    pub(crate) fn indices(&mut self, texts: &[String]) -> Vec<u32> {
        texts.iter().map(|s| self.index(s)).collect()
    }
}

/// One column to be written.
pub struct Part {
    pub(crate) name: &'static str,
    id: u32,
    kind: u8,
    flags: u8,
    size: usize,
    data: Vec<u8>,
    known: Option<Vec<u8>>,
}

/// A type of element.
pub trait Element: Copy {
    #[doc(hidden)]
    fn put(self, out: &mut Vec<u8>);
    #[doc(hidden)]
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! element {
    ($($t:ty),*) => {$(
        impl Element for $t {
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn get(bytes: &[u8]) -> Self {
                <$t>::from_le_bytes(bytes.try_into().expect("an element"))
            }
        }
    )*};
}
element!(i64, f64, u32, i32, u8);

impl Part {
    fn new<T: Element>(name: &'static str, id: u32, kind: u8, flags: u8, elements: &[T]) -> Part {
        let mut data = Vec::new();
        elements.iter().for_each(|e| e.put(&mut data));
        Part { name, id, kind, flags, size: std::mem::size_of::<T>(), data, known: None }
    }

    pub(crate) fn input<T: Element>(name: &'static str, id: u32, kind: u8, elements: &[T]) -> Part {
        Part::new(name, id, kind, 0, elements)
    }

    pub(crate) fn output<T: Element>(name: &'static str, id: u32, kind: u8, elements: &[T]) -> Part {
        Part::new(name, id, kind, 2, elements)
    }

    pub(crate) fn nullable(name: &'static str, id: u32, kind: u8, elements: &[Option<i64>]) -> Part {
        let mut bits = vec![0u8; (elements.len() + 7) / 8];
        for (i, e) in elements.iter().enumerate() {
            bits[i / 8] |= (e.is_some() as u8) << (i % 8);
        }
        let plain: Vec<i64> = elements.iter().map(|e| e.unwrap_or(crate::UNSET)).collect();
        Part { known: elements.contains(&None).then(|| bits), ..Part::new(name, id, kind, 1, &plain) }
    }
}

/// The bytes of a batch, aligned as the host aligns them.
#[derive(Clone)]
pub struct Bytes {
    words: Vec<u64>,
    len: usize,
}

impl Bytes {
    /// Copies bytes to an aligned place.
    pub fn new(bytes: &[u8]) -> Bytes {
        let mut b = Bytes { words: vec![0; bytes.len() / 8 + 1], len: bytes.len() };
        b.as_mut().copy_from_slice(bytes);
        b
    }

    pub(crate) fn raw(&mut self) -> (*mut u8, usize) {
        (self.words.as_mut_ptr() as *mut u8, self.len)
    }

    fn u32(&self, at: usize) -> u32 {
        u32::get(&self.as_ref()[at..at + 4])
    }

    /// Reads a column back, if it was sent.
    pub(crate) fn column<T: Element>(&self, id: u32, into: &mut [T]) {
        let (descs, stride) = (self.u32(28) as usize, self.u32(32) as usize);
        let columns = (self.u32(24) & 0xffff) + (self.u32(24) >> 16);
        for d in (0..columns as usize).map(|i| descs + i * stride).filter(|&d| self.u32(d) == id) {
            let (at, size) = (self.u32(d + 8) as usize, std::mem::size_of::<T>());
            for (i, e) in into.iter_mut().enumerate() {
                *e = T::get(&self.as_ref()[at + i * size..at + (i + 1) * size]);
            }
        }
    }

    /// The text that the policy left for operators.
    pub fn error_text(&self) -> String {
        let (at, n) = (self.u32(80) as usize, self.u32(88) as usize);
        String::from_utf8_lossy(&self.as_ref()[at..at + n]).into_owned()
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the words have room for len bytes.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr() as *const u8, self.len) }
    }
}

impl AsMut<[u8]> for Bytes {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for as_ref.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr() as *mut u8, self.len) }
    }
}

/// Asks a policy, as the host would.
pub(crate) fn answer<'a, K: Kind<'a>>(bytes: &'a mut Bytes, policy: impl FnOnce(&mut K) -> Result<(), Error>) -> Result<(), Error> {
    let (base, room) = bytes.raw();
    // SAFETY: the bytes are borrowed for as long as the policy sees them.
    unsafe { export::answer(base, room, policy) }
}

/// A buffer that grows part by part.
struct Writer(Vec<u8>);

impl Writer {
    fn place(&mut self, data: &[u8]) -> u32 {
        self.0.resize((self.0.len() + 63) & !63, 0);
        self.0.extend_from_slice(data);
        (self.0.len() - data.len()) as u32
    }

    fn put(&mut self, at: usize, data: &[u8]) {
        self.0[at..at + data.len()].copy_from_slice(data);
    }

    fn u32(&mut self, at: usize, v: u32) {
        self.put(at, &v.to_le_bytes());
    }
}

pub(crate) fn encode(kind: u32, h: &Header, dict: &mut Dictionary, parts: &[Part]) -> Bytes {
    let (head, stride) = h.strides;
    let slots: Vec<u8> = h.params.iter().flat_map(|p| slot(p, dict).to_le_bytes()).collect();
    let mut w = Writer(vec![0; head + stride * parts.len()]);
    let params = w.place(&slots);
    let table = write_dictionary(&mut w, dict);
    for (i, p) in parts.iter().enumerate() {
        let at = w.place(&p.data);
        let known = p.known.as_ref().map_or(0, |bits| w.place(bits));
        let d = head + stride * i;
        w.u32(d, p.id);
        w.put(d + 4, &[p.kind, p.flags, p.size as u8, 0]);
        w.u32(d + 8, at);
        w.u32(d + 12, (p.data.len() / p.size) as u32);
        w.u32(d + 16, known);
        w.u32(d + 20, (p.kind == 4 && table != 0) as u32);
    }
    let err = w.place(&[0; 256]);
    let total = w.0.len() as u32;
    let outputs = parts.iter().filter(|p| p.flags & 2 != 0).count() as u32;
    w.put(0, b"MSTR");
    w.put(4, &[1, 0, 1, 0]);
    let words = [
        (8, head as u32), (12, total), (16, kind), (20, h.n as u32), (24, parts.len() as u32 - outputs | outputs << 16),
        (28, head as u32), (32, stride as u32), (64, params), (68, h.params.len() as u32), (80, err), (84, 256), (92, table),
        (96, (table != 0) as u32), (104, h.r as u32),
    ];
    words.iter().for_each(|&(at, v)| w.u32(at, v));
    w.put(40, &h.now.to_le_bytes());
    w.put(48, &h.seed.to_le_bytes());
    w.put(56, &h.cycle.to_le_bytes());
    Bytes::new(&w.0)
}

fn slot(p: &Param, dict: &mut Dictionary) -> u64 {
    match p {
        Param::I64(v) => *v as u64,
        Param::F64(v) => v.to_bits(),
        Param::Bool(v) => *v as u64,
        Param::Text(s) => dict.index(s) as u64,
    }
}

fn write_dictionary(w: &mut Writer, dict: &Dictionary) -> u32 {
    if dict.0.is_empty() {
        return 0;
    }
    let (mut offsets, mut text) = (vec![0; 4], Vec::new());
    for s in &dict.0 {
        text.extend_from_slice(s.as_bytes());
        (text.len() as u32).put(&mut offsets);
    }
    let (offsets, bytes) = (w.place(&offsets), w.place(&text));
    let table = w.place(&[0; 16]);
    for (i, v) in [dict.0.len() as u32, offsets, bytes, text.len() as u32].into_iter().enumerate() {
        w.u32(table as usize + 4 * i, v);
    }
    table
}
