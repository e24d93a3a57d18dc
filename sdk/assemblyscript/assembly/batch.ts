// Reading a batch and answering it. hostabi/abi.md is the authority on the layout.

// What a policy returns. Anything but OK makes the host decide by its built-in policy,
// this time.
export const OK: u32 = 0;
export const ABSTAIN: u32 = 1; // let the built-in policy decide
export const BAD_INPUT: u32 = 2; // the batch makes no sense
export const BAD_PARAMS: u32 = 3; // the parameters make no sense
export const INTERNAL: u32 = 4; // a fault of the policy

/** An amount that was not configured, or is not known. */
export const UNSET: i64 = -1;
/** A maximum that was not configured. */
export const NO_MAX: i64 = i64.MAX_VALUE;
/** The whole of a share. */
export const ONE: i64 = 1 << 32;
/** A text that is not there: a job without the label. */
export const NO_TEXT: u32 = u32.MAX_VALUE;

// Shapes of a column: elements for each row, for each row and resource, for each
// resource, one.
export const ROW = 0;
export const MATRIX = 1;
export const RES = 2;
export const BATCH = 3;

const FIRST_LABEL: u32 = 0x01000000;
const DICT32: u8 = 4;

// Columns of numbers. A reference to one is the address of its first element, so there
// is nothing to allocate and nothing to follow. A column that is there has all its
// elements; an index beyond them is not checked.

@unmanaged
export class I64s {
  @inline at(i: i32): i64 { return load<i64>(changetype<usize>(this) + (<usize>i << 3)); }
  @inline set(i: i32, value: i64): void { store<i64>(changetype<usize>(this) + (<usize>i << 3), value); }
  /** The same memory as floating-point numbers. */
  @inline floats(): F64s { return changetype<F64s>(changetype<usize>(this)); }
}

@unmanaged
export class F64s {
  @inline at(i: i32): f64 { return load<f64>(changetype<usize>(this) + (<usize>i << 3)); }
  @inline set(i: i32, value: f64): void { store<f64>(changetype<usize>(this) + (<usize>i << 3), value); }
}

@unmanaged
export class U32s {
  @inline at(i: i32): u32 { return load<u32>(changetype<usize>(this) + (<usize>i << 2)); }
  @inline set(i: i32, value: u32): void { store<u32>(changetype<usize>(this) + (<usize>i << 2), value); }
}

@unmanaged
export class I32s {
  @inline at(i: i32): i32 { return load<i32>(changetype<usize>(this) + (<usize>i << 2)); }
}

@unmanaged
export class U8s {
  @inline at(i: i32): u8 { return load<u8>(changetype<usize>(this) + <usize>i); }
  @inline set(i: i32, value: u8): void { store<u8>(changetype<usize>(this) + <usize>i, value); }
}

/** A column descriptor, as it lies in the batch. */
@unmanaged
export class Column {
  id: u32;
  type: u8;
  flags: u8;
  elementSize: u16;
  offset: u32;
  elements: u32;
  known: u32; // offset of the validity bitmap, 0 if all elements are known
}

/** Whether element i of a nullable column is known; an unknown one is UNSET. */
export function known(bitmap: usize, i: i32): bool {
  return bitmap == 0 || ((load<u8>(bitmap + (<usize>i >> 3)) >> <u8>(i & 7)) & 1) != 0;
}

/** Gives row i a reason, its place in policy.yaml's table: reason(b.reason, i, 1). */
export function reason(column: U32s | null, i: i32, place: u32): void {
  if (column) column.set(i, place);
}

/** What is common to the batches of all kinds. */
export abstract class Batch {
  /** OK, or what to return at once: the bytes are no batch of this kind. */
  status: u32 = BAD_INPUT;
  /** Rows. */
  n: i32 = 0;
  /** Resources, the width of a matrix. */
  r: i32 = 0;
  /** Time of the cycle, ns. */
  now: i64 = 0;
  /** Number of the cycle. */
  cycle: u64 = 0;
  /** A number derived from the cycle, for tie-breaking by chance. */
  seed: u64 = 0;

  private base: usize = 0;
  private total: u32 = 0;
  private columns: u32 = 0;
  private descs: u32 = 0;
  private stride: u32 = 0;
  private params: u32 = 0;
  private paramCount: u32 = 0;
  private err: u32 = 0;
  private errCap: u32 = 0;
  private dict: u32 = 0;
  private dictCount: u32 = 0;

  /** Takes one column; false if it is not what the schema says. */
  protected abstract take(c: Column): bool;

  /** Reads and checks header and columns of the batch at an address. */
  protected read(batch: usize, kind: u32): void {
    this.status = BAD_INPUT;
    this.base = 0;
    this.errCap = 0;
    if (!this.header(batch, arenaRoom(batch), kind)) return;
    for (let i: u32 = 0; i < this.columns; i++) {
      if (!this.take(this.column(i))) {
        this.fail(BAD_INPUT, "a column is not what the schema says");
        return;
      }
    }
    this.status = OK;
  }

  private header(batch: usize, room: usize, kind: u32): bool {
    if (room < 128 || load<u32>(batch) != 0x5254534d || load<u16>(batch, 4) != 1) return false;
    const head = load<u32>(batch, 8);
    this.base = batch;
    this.total = load<u32>(batch, 12);
    this.n = load<i32>(batch, 20);
    this.columns = <u32>load<u16>(batch, 24) + <u32>load<u16>(batch, 26);
    this.descs = load<u32>(batch, 28);
    this.stride = load<u32>(batch, 32);
    this.now = load<i64>(batch, 40);
    this.seed = load<u64>(batch, 48);
    this.cycle = load<u64>(batch, 56);
    this.params = load<u32>(batch, 64);
    this.paramCount = load<u32>(batch, 68);
    this.err = load<u32>(batch, 80);
    this.dict = load<u32>(batch, 92);
    this.dictCount = load<u32>(batch, 96);
    this.r = load<i32>(batch, 104);
    if (head < 128 || this.total < head || <usize>this.total > room || load<u32>(batch, 16) != kind) return false;
    if (this.n < 0 || this.r < 0 || this.stride < 32 || this.descs % 4 != 0 || this.stride % 4 != 0) return false;
    if (!this.inside(this.descs, <u64>this.columns * this.stride)) return false;
    if (this.params % 8 != 0 || !this.inside(this.params, <u64>this.paramCount * 8)) return false;
    const room2 = load<u32>(batch, 84);
    if (room2 != 0 && (this.err < head || !this.inside(this.err, room2))) return false;
    this.errCap = room2;
    return true;
  }

  private inside(offset: u32, bytes: u64): bool {
    return offset <= this.total && bytes <= <u64>(this.total - offset);
  }

  private column(i: u32): Column {
    return changetype<Column>(this.base + this.descs + <usize>i * this.stride);
  }

  /** Address of a column's elements; 0 if they are not what the shape asks for. */
  protected elements(c: Column, type: u8, size: u32, shape: i32): usize {
    const n = <u64>this.n, r = <u64>this.r;
    const want: u64 = shape == ROW ? n : shape == MATRIX ? n * r : shape == RES ? r : 1;
    if (c.type != type || <u64>c.elements != want || c.offset % size != 0) return 0;
    if (c.offset == 0 || !this.inside(c.offset, want * size)) return 0;
    return this.base + c.offset;
  }

  /** Address of a validity bitmap; 0 if there is none, or it does not fit. */
  protected bitmap(c: Column): usize {
    if (c.known == 0 || !this.inside(c.known, (<u64>c.elements + 7) / 8)) return 0;
    return this.base + c.known;
  }

  /**
   * The values of label i of policy.yaml's columns, one index a row, NO_TEXT where the
   * job has no such label; null if the host did not send it.
   */
  label(i: i32): U32s | null {
    for (let k: u32 = 0; k < this.columns; k++) {
      const c = this.column(k);
      if (c.id == FIRST_LABEL + <u32>i) return changetype<U32s | null>(this.elements(c, DICT32, 4, ROW));
    }
    return null;
  }

  /**
   * Params stand in slots, in the order of policy.yaml. The fallback is for a host that
   * sends none: give the default of policy.yaml.
   */
  paramI64(slot: i32, fallback: i64): i64 {
    return <u32>slot < this.paramCount ? load<i64>(this.base + this.params + (<usize>slot << 3)) : fallback;
  }

  paramF64(slot: i32, fallback: f64): f64 {
    return <u32>slot < this.paramCount ? load<f64>(this.base + this.params + (<usize>slot << 3)) : fallback;
  }

  paramBool(slot: i32, fallback: bool): bool { return this.paramI64(slot, fallback ? 1 : 0) != 0; }

  /** Index of a string param: compare it with a column of indices. */
  paramText(slot: i32): u32 { return <u32>this.paramI64(slot, <i64>NO_TEXT); }

  /** Address of the UTF-8 bytes of a text of the dictionary, 0 if there is none. */
  textAt(index: u32): usize { return this.bounds(index, true); }

  /** Number of the UTF-8 bytes of a text of the dictionary, 0 if there is none. */
  textSize(index: u32): i32 { return <i32>this.bounds(index, false); }

  private bounds(index: u32, address: bool): usize {
    if (this.dictCount == 0 || !this.inside(this.dict, 16)) return 0;
    const entry = this.base + this.dict;
    const count = load<u32>(entry), offsets = load<u32>(entry, 4), bytes = load<u32>(entry, 8), size = load<u32>(entry, 12);
    if (index >= count || !this.inside(offsets, (<u64>index + 2) * 4) || !this.inside(bytes, size)) return 0;
    const at = this.base + offsets + (<usize>index << 2);
    const from = load<u32>(at), to = load<u32>(at, 4);
    if (from > to || to > size) return 0;
    return address ? this.base + bytes + from : to - from;
  }

  /** Whether a text of the dictionary is this one. */
  isText(index: u32, text: string): bool {
    const at = this.textAt(index);
    const size = putUTF8(text, said, SAID);
    return at != 0 && size == this.textSize(index) && memory.compare(at, said, size) == 0;
  }

  /** Leaves a text for operators to read, and returns the status: return b.fail(…). */
  fail(status: u32, text: string): u32 {
    if (this.errCap > 0) store<u32>(this.base, <u32>putUTF8(text, this.base + this.err, <i32>this.errCap), 88);
    return status;
  }
}

// ---- texts that go out

const SAID = 1024;
const said = memory.data(SAID);

/** Writes a text as UTF-8, whole characters as far as there is room; returns the bytes. */
function putUTF8(text: string, at: usize, room: i32): i32 {
  let n = 0;
  for (let i = 0; i < text.length; i++) {
    const c = <u32>text.codePointAt(i);
    const size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (n + size > room) break;
    const p = at + <usize>n;
    if (size == 1) {
      store<u8>(p, <u8>c);
    } else {
      for (let k = size - 1, rest = c; k >= 0; k--, rest >>= 6) {
        store<u8>(p + <usize>k, k > 0 ? <u8>(0x80 | (rest & 0x3f)) : <u8>((0xf00 >> size) | rest));
      }
    }
    n += size;
    if (size == 4) i++;
  }
  return n;
}

@external("muster_v1", "log")
declare function hostLog(level: i32, at: usize, size: i32): void;

@external("muster_v1", "counter_add")
declare function hostCounterAdd(id: u32, value: i64): void;

/** One line for the log of the host; level -1 debug, 0 info, 1 warning, 2 error. */
export function log(level: i32, line: string): void { hostLog(level, said, putUTF8(line, said, SAID)); }

/** Adds to counter 0 to 63 of the policy. */
export function count(id: u32, value: i64): void { hostCounterAdd(id, value); }

// ---- memory

let arena: usize = 0; // what the host writes into, aligned to 64 bytes
let arenaBytes: usize = 0;
let block: usize = 0; // what was allocated for it

/** The marker of the ABI's major version; never called. */
export function muster_abi_v1(): void {}

/** Lends the host an arena; 0 refuses. */
export function muster_reserve(bytes: u32): usize {
  if (block != 0) heap.free(block);
  block = 0;
  arena = 0;
  arenaBytes = 0;
  if (bytes > 1 << 30 || !growFor(<usize>bytes + 128)) return 0;
  block = heap.alloc(<usize>bytes + 64);
  arena = (block + 63) & ~63;
  arenaBytes = bytes;
  return arena;
}

/** Grows memory so that an allocation can't fail; false if the host refuses. */
function growFor(bytes: usize): bool {
  const probe = heap.alloc(0); // where the next block would begin
  heap.free(probe);
  const end = <u64>probe + <u64>bytes, have = <u64>memory.size() << 16;
  if (end <= have) return true;
  const pages = (end - have + 0xffff) >> 16;
  return pages < 65536 && memory.grow(<i32>pages) >= 0;
}

/** Bytes of the arena from an address on, 0 if that is not in it. */
function arenaRoom(at: usize): usize {
  return arena != 0 && at % 8 == 0 && at >= arena && at - arena < arenaBytes ? arenaBytes - (at - arena) : 0;
}

/**
 * Scratch space that is kept between calls, so that a call allocates nothing: make one
 * in a global constant. What it held in an earlier call is gone.
 */
export class Scratch {
  private at: usize = 0;
  private room: usize = 0;

  /** n zeros. */
  i64s(n: i32): I64s {
    const bytes = <usize>n << 3;
    if (bytes > this.room) {
      if (this.at != 0) heap.free(this.at);
      this.room = bytes * 2;
      this.at = heap.alloc(this.room);
    }
    memory.fill(this.at, 0, bytes);
    return changetype<I64s>(this.at);
  }
}
