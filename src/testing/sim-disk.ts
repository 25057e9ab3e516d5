import { KilovoltError } from '../base/errors.ts'
import type { Random } from '../runtime/random.ts'
import type { StoreChange, StoreEntry, StoreRange } from '../storage/store.ts'

/** How a disk behaves. Chances are whole numbers in ten thousand. */
export interface DiskOptions {
  /** Whether the data outlives the process. Default true; false is a database in memory. */
  readonly permanent?: boolean
  /** Least time of a write, ms. Default 0.1 */
  readonly writeMinMs?: number
  /** Mean of what comes on top, ms. Default 0.2 */
  readonly writeMeanMs?: number
  /** What a synced write takes longer, ms. Default 1 */
  readonly syncMs?: number
  /** Time of an asynchronous read, ms. Default 0.1 */
  readonly readMs?: number
  /** Whether short reads are synchronous. Default true */
  readonly syncReads?: boolean
  /** Writes that fail; nothing of them is kept. Default 0 */
  readonly failPer10k?: number
}

const DEFAULTS: Required<DiskOptions> = {
  permanent: true,
  writeMinMs: 0.1,
  writeMeanMs: 0.2,
  syncMs: 1,
  readMs: 0.1,
  syncReads: true,
  failPer10k: 0
}

/** Batches that a crash of the machine may take back. */
const UNSYNCED_MAX = 1000

/** A batch that has not been written yet. */
export interface PendingWrite {
  readonly changes: readonly StoreChange[]
}

/** What a batch replaced, so that a crash of the machine can take it back. */
type Undo = readonly (readonly [key: string, value: Uint8Array | undefined])[]

/**
 * An ordered map of bytes that outlives the processes on its machine. After a crash of the process it holds all that was
 * acknowledged and any leading part of the batches that were under way, each of them whole or not at all; after a crash
 * of the machine, all that was synced and any leading part of the rest.
 */
export class SimDisk {
  readonly #random: Random
  readonly #values = new Map<string, Uint8Array>()
  /** All keys in order, as text of one character for each byte, whose order is that of the bytes. */
  #keys: string[] = []
  #options = DEFAULTS
  #unsynced: Undo[] = []
  #pending: PendingWrite[] = []
  #open = false

  constructor(random: Random, options: DiskOptions = {}) {
    this.#random = random
    this.set(options)
  }

  get options(): Required<DiskOptions> {
    return this.#options
  }

  /** Whether a process has it open. */
  get isOpen(): boolean {
    return this.#open
  }

  /** Keys it holds. */
  get size(): number {
    return this.#keys.length
  }

  /** Changes what is named and leaves the rest. */
  set(options: DiskOptions): void {
    this.#options = { ...this.#options, ...options }
  }

  /** Takes the disk for one process. @throws KilovoltError `KV_STORAGE_IN_USE` */
  acquire(): void {
    if (this.#open) throw new KilovoltError('KV_STORAGE_IN_USE', 'the simulated disk is open in another process')
    this.#open = true
  }

  /** The process has closed the disk. What is not permanent is gone with it. */
  release(): void {
    this.#open = false
    if (!this.#options.permanent) this.wipe()
  }

  /** Empties the disk; nothing may have it open. */
  wipe(): void {
    this.#values.clear()
    this.#keys = []
    this.#unsynced = []
    this.#pending = []
  }

  /** The process has ended without closing it. */
  crash({ machine = false }: { readonly machine?: boolean } = {}): void {
    const written = this.#random.int(this.#pending.length + 1)
    for (const write of this.#pending.slice(0, written)) this.write(write, false)
    this.#pending = []
    if (machine) {
      const kept = this.#random.int(this.#unsynced.length + 1)
      for (const undo of this.#unsynced.splice(kept).reverse()) for (const [key, value] of undo) this.#put(key, value)
      this.#unsynced = []
    }
    this.release()
  }

  /** Announces a batch that is under way. */
  begin(changes: readonly StoreChange[]): PendingWrite {
    const write: PendingWrite = { changes }
    this.#pending.push(write)
    return write
  }

  /** Ends a batch: its changes are there, and so is whatever was written before when it is synced. */
  write(write: PendingWrite, sync: boolean): void {
    this.drop(write)
    const undo = write.changes.map(({ key, value }) => {
      const name = toKey(key)
      const before = this.#values.get(name)
      this.#put(name, value)
      return [name, before] as const
    })
    if (sync) this.#unsynced = []
    else if (this.#options.permanent) this.#unsynced.push(undo.reverse())
    // The operating system writes back of its own accord in the end.
    if (this.#unsynced.length > UNSYNCED_MAX) this.#unsynced.shift()
  }

  /** Gives a batch up. */
  drop(write: PendingWrite): void {
    const at = this.#pending.indexOf(write)
    if (at !== -1) this.#pending.splice(at, 1)
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#values.get(toKey(key))
  }

  /** The first entries of a range, in order, or the last ones against it. */
  page({ gte, lt }: StoreRange, limit: number, isReverse = false): StoreEntry[] {
    const start = this.#find(toKey(gte))
    const end = Math.max(start, lt === undefined ? this.#keys.length : this.#find(toKey(lt)))
    const keys = isReverse
      ? this.#keys.slice(Math.max(start, end - limit), end).reverse()
      : this.#keys.slice(start, Math.min(end, start + limit))
    return keys.map(key => [fromKey(key), this.#values.get(key)!] as const)
  }

  /** Flips a bit of what is stored under a key; the number of the bit is taken modulo what there is. */
  flip(key: Uint8Array, bit: number): void {
    const value = new Uint8Array(this.get(key)!)
    const at = bit % (value.length * 8)
    value[at >> 3]! ^= 1 << (at & 7)
    this.#put(toKey(key), value)
  }

  /** Keys of a range. */
  keys(range: StoreRange): Uint8Array[] {
    return this.page(range, this.#keys.length).map(([key]) => key)
  }

  /** The next delay of a write, µs. */
  writeUs(sync: boolean): number {
    const { writeMinMs, writeMeanMs, syncMs } = this.#options
    return Math.round((writeMinMs + (sync ? syncMs : 0)) * 1000) + this.#random.int(Math.round(writeMeanMs * 2000) + 1)
  }

  /** Whether the next write fails. */
  fails(): boolean {
    const { failPer10k } = this.#options
    return failPer10k > 0 && this.#random.chance(failPer10k, 10_000)
  }

  #put(key: string, value: Uint8Array | undefined): void {
    const known = this.#values.has(key)
    if (value !== undefined) this.#values.set(key, value)
    else this.#values.delete(key)
    if (known === (value !== undefined)) return
    const at = this.#find(key)
    if (known) this.#keys.splice(at, 1)
    else this.#keys.splice(at, 0, key)
  }

  /** Place of the first key that is not below the given one. */
  #find(key: string): number {
    let low = 0
    let high = this.#keys.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#keys[middle]! < key) low = middle + 1
      else high = middle
    }
    return low
  }
}

function toKey(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

function fromKey(key: string): Uint8Array {
  return new Uint8Array(Buffer.from(key, 'latin1'))
}
