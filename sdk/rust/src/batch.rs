//! Reading a batch. hostabi/abi.md is the authority on the layout.
//!
//! Slices are made of the host's bytes, so all that Rust asks of a slice is checked when
//! a batch is opened: bounds, alignment, and that what the policy may write shares no
//! byte with anything else that it can see.

use core::marker::PhantomData;
use core::slice;

pub(crate) const FIRST_LABEL: u32 = 0x0100_0000;
const LAST_LABEL: u32 = FIRST_LABEL + 0xffff;
const DICT32: u8 = 4;

/// How many elements a column has.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Row,
    Matrix,
    Resource,
    Batch,
}

/// A column of which some elements are not known.
#[derive(Clone, Copy, Debug)]
pub struct Nullable<'a, T> {
    elements: &'a [T],
    known: Option<&'a [u8]>,
}

impl<'a, T: Copy> Nullable<'a, T> {
    /// Element i, `None` if it is not known.
    pub fn get(&self, i: usize) -> Option<T> {
        match self.known {
            Some(bits) if bits[i / 8] >> (i % 8) & 1 == 0 => None,
            _ => Some(self.elements[i]),
        }
    }

    /// All elements; those that are not known are `UNSET`.
    pub fn raw(&self) -> &'a [T] {
        self.elements
    }
}

/// What every batch says of its cycle. There is no other source of time or chance.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Rows.
    pub n: usize,
    /// Resources, the width of a matrix.
    pub r: usize,
    /// Time of the cycle, ns.
    pub now: i64,
    /// Number of the cycle.
    pub cycle: u64,
    /// A number derived from the cycle, for tie-breaking by chance.
    pub seed: u64,

    base: *mut u8,
    head: u32,
    total: u32,
    columns: u32,
    descs: u32,
    stride: u32,
    params: u32,
    param_count: u32,
    err: u32,
    err_cap: u32,
    dict: Dict,
    life: PhantomData<&'a [u8]>,
}

/// The dictionary; all zeros if there is none.
#[derive(Clone, Copy, Default)]
struct Dict {
    table: u32,
    count: u32,
    offsets: u32,
    bytes: u32,
    size: u32,
}

impl Default for Call<'_> {
    fn default() -> Self {
        Call {
            n: 0, r: 0, now: 0, cycle: 0, seed: 0, base: core::ptr::null_mut(), head: 0, total: 0, columns: 0, descs: 0,
            stride: 0, params: 0, param_count: 0, err: 0, err_cap: 0, dict: Dict::default(), life: PhantomData,
        }
    }
}

/// One kind of batch; columns.rs implements it.
pub trait Kind<'a>: Sized {
    #[doc(hidden)]
    const KIND: u32;
    #[doc(hidden)]
    fn with(call: Call<'a>) -> Self;
    #[doc(hidden)]
    fn is_output(id: u32) -> bool;
    #[doc(hidden)]
    fn is_input(id: u32) -> bool;
    /// Takes one column; `None` if it is not what the schema says.
    ///
    /// # Safety
    /// No output shares bytes with another column.
    #[doc(hidden)]
    unsafe fn take(&mut self, c: &Column<'a>) -> Option<()>;
}

/// A column descriptor.
pub struct Column<'a> {
    pub(crate) id: u32,
    kind: u8,
    offset: u32,
    elements: u32,
    known: u32,
    size: u16,
    call: Call<'a>,
}

impl<'a> Column<'a> {
    /// The elements, if they are what type and shape ask for.
    fn place<T>(&self, kind: u8, shape: Shape) -> Option<(*mut T, usize)> {
        let c = &self.call;
        let want = match shape {
            Shape::Row => c.n as u64,
            Shape::Matrix => c.n as u64 * c.r as u64,
            Shape::Resource => c.r as u64,
            Shape::Batch => 1,
        };
        let size = core::mem::size_of::<T>();
        let fits = self.kind == kind && self.elements as u64 == want && self.size as usize == size;
        if !fits || self.offset as usize % size != 0 || !c.inside(self.offset, want * size as u64) {
            return None;
        }
        // SAFETY: the offset is inside of the batch.
        Some((unsafe { c.base.add(self.offset as usize) } as *mut T, want as usize))
    }

    /// SAFETY: nothing that can be written shares bytes with the column.
    pub(crate) unsafe fn input<T>(&self, kind: u8, shape: Shape) -> Option<&'a [T]> {
        self.place(kind, shape).map(|(p, n)| slice::from_raw_parts(p, n))
    }

    /// SAFETY: nothing else shares bytes with the column, and it is taken once.
    pub(crate) unsafe fn output<T>(&self, kind: u8, shape: Shape) -> Option<&'a mut [T]> {
        self.place(kind, shape).map(|(p, n)| slice::from_raw_parts_mut(p, n))
    }

    /// SAFETY: as for input.
    pub(crate) unsafe fn nullable<T>(&self, kind: u8, shape: Shape) -> Option<Nullable<'a, T>> {
        let elements = self.input(kind, shape)?;
        let known = match self.known {
            0 => None,
            at => Some(self.call.bytes(at, self.bitmap_bytes())?),
        };
        Some(Nullable { elements, known })
    }

    fn bitmap_bytes(&self) -> u64 {
        (self.elements as u64 + 7) / 8
    }

    /// Where the elements lie: first byte, and the one behind the last.
    fn range(&self) -> (u64, u64) {
        (self.offset as u64, self.offset as u64 + self.elements as u64 * self.size as u64)
    }
}

fn disjoint(a: (u64, u64), b: (u64, u64)) -> bool {
    a.1 <= b.0 || b.1 <= a.0 || a.0 == a.1 || b.0 == b.1
}

impl<'a> Call<'a> {
    /// Reads and checks the header of a batch.
    ///
    /// SAFETY: base is the address of room bytes that nobody else uses during 'a.
    pub(crate) unsafe fn open(base: *mut u8, room: usize, kind: u32) -> Option<Call<'a>> {
        if base.is_null() || base as usize % 8 != 0 || room < 128 {
            return None;
        }
        let mut c = Call { base, total: 128, ..Call::default() };
        let small = |c: &Call, at| c.u32(at) & 0xffff;
        if c.u32(0) != 0x5254_534d || small(&c, 4) != 1 || c.u32(16) != kind {
            return None;
        }
        let (head, total) = (c.u32(8), c.u32(12));
        if head < 128 || total < head || total as usize > room || total > i32::MAX as u32 {
            return None;
        }
        c.n = c.u32(20) as usize;
        c.columns = small(&c, 24) + small(&c, 26);
        c.descs = c.u32(28);
        c.stride = c.u32(32);
        c.now = c.u64(40) as i64;
        c.seed = c.u64(48);
        c.cycle = c.u64(56);
        c.params = c.u32(64);
        c.param_count = c.u32(68);
        c.err = c.u32(80);
        c.err_cap = c.u32(84);
        let (table, dicts) = (c.u32(92), c.u32(96));
        c.r = c.u32(104) as usize;
        c.head = head;
        c.total = total;
        let fits = c.stride >= 32
            && c.inside(c.descs, c.columns as u64 * c.stride as u64)
            && c.params % 8 == 0
            && c.inside(c.params, c.param_count as u64 * 8)
            && (c.err_cap == 0 || c.err >= head)
            && c.inside(c.err, c.err_cap as u64);
        if !fits {
            return None;
        }
        if dicts > 0 {
            if !c.inside(table, 16) {
                return None;
            }
            let t = table as usize;
            let dict = Dict { table, count: c.u32(t), offsets: c.u32(t + 4), bytes: c.u32(t + 8), size: c.u32(t + 12) };
            if !c.inside(dict.offsets, 4 * (dict.count as u64 + 1)) || !c.inside(dict.bytes, dict.size as u64) {
                return None;
            }
            c.dict = dict;
        }
        Some(c)
    }

    /// Reads the columns into the batch of a kind.
    ///
    /// SAFETY: as for open, and called once.
    pub(crate) unsafe fn read<K: Kind<'a>>(self) -> Option<K> {
        for i in 0..self.columns {
            if K::is_output(self.column(i).id) && !self.alone::<K>(i) {
                return None;
            }
        }
        let mut batch = K::with(self);
        for i in 0..self.columns {
            batch.take(&self.column(i))?;
        }
        Some(batch)
    }

    /// Whether output i shares no byte with anything that the policy can see.
    fn alone<K: Kind<'a>>(&self, i: u32) -> bool {
        let out = self.column(i).range();
        let d = &self.dict;
        let parts = [
            (0, self.head as u64),
            (self.descs as u64, self.columns as u64 * self.stride as u64),
            (self.params as u64, self.param_count as u64 * 8),
            (d.table as u64, if d.table != 0 { 16 } else { 0 }),
            (d.offsets as u64, if d.table != 0 { 4 * (d.count as u64 + 1) } else { 0 }),
            (d.bytes as u64, d.size as u64),
        ];
        if parts.iter().any(|&(at, n)| !disjoint(out, (at, at + n))) {
            return false;
        }
        (0..self.columns).filter(|&k| k != i).all(|k| {
            let c = self.column(k);
            let seen = K::is_input(c.id) || K::is_output(c.id) || (FIRST_LABEL..=LAST_LABEL).contains(&c.id);
            let bitmap = (c.known as u64, c.known as u64 + if c.known != 0 { c.bitmap_bytes() } else { 0 });
            !seen || disjoint(out, c.range()) && disjoint(out, bitmap)
        })
    }

    fn inside(&self, offset: u32, bytes: u64) -> bool {
        offset <= self.total && bytes <= (self.total - offset) as u64
    }

    /// SAFETY: nothing that can be written shares these bytes.
    unsafe fn bytes(&self, offset: u32, n: u64) -> Option<&'a [u8]> {
        self.inside(offset, n).then(|| slice::from_raw_parts(self.base.add(offset as usize), n as usize))
    }

    /// A word at an offset that is known to be inside, at least four bytes from the end.
    fn u32(&self, at: usize) -> u32 {
        // SAFETY: see above.
        u32::from_le(unsafe { (self.base.add(at) as *const u32).read_unaligned() })
    }

    fn u64(&self, at: usize) -> u64 {
        // SAFETY: as for u32.
        u64::from_le(unsafe { (self.base.add(at) as *const u64).read_unaligned() })
    }

    fn column(&self, i: u32) -> Column<'a> {
        let at = (self.descs + i * self.stride) as usize;
        let kinds = self.u32(at + 4);
        Column {
            id: self.u32(at), kind: kinds as u8, size: (kinds >> 16) as u16, offset: self.u32(at + 8), elements: self.u32(at + 12),
            known: self.u32(at + 16), call: *self,
        }
    }

    /// A text by its index in the dictionary; empty if there is none.
    pub fn text(&self, index: u32) -> &'a str {
        let d = &self.dict;
        if index >= d.count {
            return "";
        }
        let at = d.offsets as usize + 4 * index as usize;
        let (from, to) = (self.u32(at), self.u32(at + 4));
        if from > to || to > d.size {
            return "";
        }
        // SAFETY: open has checked that size bytes are there, and read that no output
        // shares them.
        let bytes = unsafe { slice::from_raw_parts(self.base.add(d.bytes as usize + from as usize), (to - from) as usize) };
        core::str::from_utf8(bytes).unwrap_or("")
    }

    /// The values of label i of policy.yaml's columns, one index a row, `NO_TEXT` where
    /// the job has no such label; `None` if the host did not send it.
    pub fn label(&self, i: usize) -> Option<&'a [u32]> {
        let id = FIRST_LABEL + (i as u32 & 0xffff);
        let c = (0..self.columns).map(|k| self.column(k)).find(|c| c.id == id)?;
        // SAFETY: read has checked that no output shares bytes with a label.
        unsafe { c.input(DICT32, Shape::Row) }
    }

    fn param(&self, slot: usize) -> Option<u64> {
        (slot < self.param_count as usize).then(|| self.u64(self.params as usize + 8 * slot))
    }

    /// Param number `slot` of policy.yaml. The fallback is for a host that sends none:
    /// give the default of policy.yaml.
    pub fn param_i64(&self, slot: usize, fallback: i64) -> i64 {
        self.param(slot).map_or(fallback, |v| v as i64)
    }

    /// A param of type f64.
    pub fn param_f64(&self, slot: usize, fallback: f64) -> f64 {
        self.param(slot).map_or(fallback, f64::from_bits)
    }

    /// A param of type bool.
    pub fn param_bool(&self, slot: usize, fallback: bool) -> bool {
        self.param(slot).map_or(fallback, |v| v != 0)
    }

    /// The index in the dictionary of a string param: compare it with a column of
    /// indices, or read it by `text`. `NO_TEXT` if there is no such slot.
    pub fn param_text(&self, slot: usize) -> u32 {
        self.param(slot).map_or(crate::NO_TEXT, |v| v as u32)
    }

    /// n zeros to calculate with, good during the call; `None` if memory is at its limit.
    pub fn scratch(&self, n: usize) -> Option<&'a mut [i64]> {
        crate::export::scratch(n)
    }

    /// Leaves a text for operators to read.
    ///
    /// SAFETY: the policy is done with the batch.
    pub(crate) unsafe fn say(&self, text: &str) {
        let mut n = text.len().min(self.err_cap as usize);
        while !text.is_char_boundary(n) {
            n -= 1;
        }
        if self.err_cap > 0 {
            core::ptr::copy_nonoverlapping(text.as_ptr(), self.base.add(self.err as usize), n);
            (self.base.add(88) as *mut u32).write_unaligned((n as u32).to_le());
        }
    }
}

impl<'a> crate::Victims<'a> {
    /// Gives a row a reason, its place in policy.yaml's table.
    pub fn explain(&mut self, row: usize, place: u32) {
        self.reason.get_mut(row).into_iter().for_each(|r| *r = place);
    }
}

impl<'a> crate::Jobs<'a> {
    /// Gives a row a reason, its place in policy.yaml's table.
    pub fn explain(&mut self, row: usize, place: u32) {
        self.reason.get_mut(row).into_iter().for_each(|r| *r = place);
    }

    /// Says how many key columns to sort by, 1 to 4; it is 1 if a policy says nothing.
    pub fn set_keys(&mut self, count: u32) {
        self.key_count.iter_mut().for_each(|c| *c = count);
    }

    /// Key column i, 0 to 3, to be filled with finite numbers. Empty if there is none.
    pub fn float_key(&mut self, i: usize) -> &mut [f64] {
        self.key_format.iter_mut().for_each(|f| *f |= 1 << (2 * i));
        let key: &mut [i64] = match i {
            0 => self.key0,
            1 => self.key1,
            2 => self.key2,
            3 => self.key3,
            _ => &mut [],
        };
        // SAFETY: f64 has the size and the alignment of i64 here, and any bits are one.
        unsafe { slice::from_raw_parts_mut(key.as_mut_ptr() as *mut f64, key.len()) }
    }

    /// Sorts key i from the largest to the smallest.
    pub fn descending(&mut self, i: usize) {
        self.key_format.iter_mut().for_each(|f| *f |= 2 << (2 * i));
    }
}
