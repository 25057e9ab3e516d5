import { copyBytes } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import type { Store, StoreChange, StoreEntry, StoreRange } from '../storage/store.ts'
import type { SimClock } from './sim-clock.ts'
import type { SimDisk } from './sim-disk.ts'

/** What a store needs. */
export interface SimStoreDeps {
  readonly disk: SimDisk
  /** Clock of the process that opens it: completions are events of that process, and end with it. */
  readonly clock: SimClock
}

/** The store of one process on a simulated disk. Writes are done one after the other, each at some later virtual time. */
export class SimStore implements Store {
  readonly permanent: boolean
  readonly readsAtOnce: boolean
  readonly #disk: SimDisk
  readonly #clock: SimClock
  /** True time at which the disk will have done all it was asked to, in terms of this process's clock, µs. */
  #busyUntilUs = 0
  #writing = 0
  #closing: Promise<void> | undefined
  #idle: (() => void) | undefined

  /** @throws KilovoltError `KV_STORAGE_IN_USE` when a process has the disk open */
  constructor({ disk, clock }: SimStoreDeps) {
    disk.acquire()
    this.permanent = disk.options.permanent
    this.readsAtOnce = disk.options.syncReads
    this.#disk = disk
    this.#clock = clock
  }

  get(key: Uint8Array): Uint8Array | undefined | Promise<Uint8Array | undefined> {
    return this.#read(() => this.#valueOf(key))
  }

  getMany(
    keys: readonly Uint8Array[]
  ): readonly (Uint8Array | undefined)[] | Promise<readonly (Uint8Array | undefined)[]> {
    return this.#read(() => keys.map(key => this.#valueOf(key)))
  }

  batch(changes: readonly StoreChange[], { sync }: { readonly sync: boolean }): Promise<void> {
    if (this.#closing !== undefined) return Promise.reject(closedError())
    const disk = this.#disk
    const write = disk.begin(
      changes.map(({ key, value }) => ({
        key: copyBytes(key),
        value: value === undefined ? undefined : copyBytes(value)
      }))
    )
    const fails = disk.fails()
    return this.#inTurn(disk.writeUs(sync), () => {
      if (!fails) return disk.write(write, sync)
      disk.drop(write)
      throw new KilovoltError('KV_STORAGE', 'the simulated disk failed to write')
    })
  }

  page(range: StoreRange, limit: number, _maxBytes?: number, isReverse = false): Promise<readonly StoreEntry[]> {
    if (this.#closing !== undefined) return Promise.reject(closedError())
    return this.#later(() =>
      this.#disk.page(range, limit, isReverse).map(([key, value]) => [key, copyBytes(value)] as const)
    )
  }

  /** Deletes in two batches, so that a crash may come between them. */
  async clear(range: StoreRange): Promise<void> {
    if (this.#closing !== undefined) throw closedError()
    const keys = await this.#later(() => this.#disk.keys(range))
    const half = Math.ceil(keys.length / 2)
    const deleted = (part: readonly Uint8Array[]): StoreChange[] => part.map(key => ({ key, value: undefined }))
    await this.batch(deleted(keys.slice(0, half)), { sync: false })
    if (half < keys.length) await this.batch(deleted(keys.slice(half)), { sync: false })
  }

  close(): Promise<void> {
    this.#closing ??= this.#shut()
    return this.#closing
  }

  async #shut(): Promise<void> {
    if (this.#writing > 0) {
      await new Promise<void>(resolve => {
        this.#idle = resolve
      })
    }
    this.#disk.release()
  }

  #valueOf(key: Uint8Array): Uint8Array | undefined {
    const value = this.#disk.get(key)
    return value === undefined ? undefined : copyBytes(value)
  }

  #read<T>(read: () => T): T | Promise<T> {
    if (this.#closing !== undefined) return Promise.reject(closedError())
    return this.readsAtOnce ? read() : this.#later(read)
  }

  /** Resolves with what `act` returns, after a read's time. */
  #later<T>(act: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#clock.arrive(this.#disk.options.readMs * 1000, () => {
        if (this.#closing === undefined) resolve(act())
        else reject(closedError())
      })
    })
  }

  /** Resolves after the given time from now or from the end of the write before. */
  #inTurn(durationUs: number, act: () => void): Promise<void> {
    const nowUs = this.#clock.trueUs
    this.#busyUntilUs = Math.max(this.#busyUntilUs, nowUs) + durationUs
    this.#writing++
    return new Promise((resolve, reject) => {
      this.#clock.arrive(this.#busyUntilUs - nowUs, () => {
        this.#writing--
        try {
          act()
          resolve()
        } catch (error) {
          reject(error)
        }
        if (this.#writing === 0) this.#idle?.()
      })
    })
  }
}

function closedError(): KilovoltError {
  return new KilovoltError('KV_STORAGE', 'the simulated store is closed')
}
