import type { RecordBytes } from '../model/record.ts'
import type { Clock } from '../runtime/clock.ts'
import { ApplyLoop } from './apply-loop.ts'
import { Damage } from './damage.ts'
import { asidePrefix } from './key-layout.ts'
import { PrefixedStore } from './prefixed-store.ts'
import type { RecordKey, StoredRecord } from './record-store.ts'
import { storageError } from './storage-error.ts'
import type { Store } from './store.ts'

/** What setting aside needs. */
export interface SetAsideDeps {
  readonly store: Store
  readonly clock: Pick<Clock, 'soon'>
  /** Told of what was set aside and is found to be damaged, by its key as that of a record. */
  readonly onDamage?: (key: Uint8Array) => void
}

const PAGE_RECORDS = 1000
const PAGE_BYTES = 1024 * 1024

/**
 * Records that came too late: their node was away for so long that nobody can tell any more whether they were deleted
 * meanwhile (rule G3). Nobody reads them; they are kept for people to look at, or to be written anew.
 */
export class SetAside {
  readonly #records: ApplyLoop
  #count = 0

  constructor({ store, clock, onDamage }: SetAsideDeps) {
    const damage = new Damage(onDamage && { onFound: onDamage })
    this.#records = new ApplyLoop({ store: new PrefixedStore(store, asidePrefix()), clock, damage })
  }

  /** How many records there are. */
  get count(): number {
    return this.#count
  }

  /** Counts what an earlier life has left. To be called before anything else. */
  async open(): Promise<void> {
    for await (const _ of this.entries()) this.#count++
  }

  /** Keeps a record; of one key the newest. Resolves when it is written. */
  add(key: RecordKey, record: RecordBytes): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#records.apply(key, record, (error, result) => {
        if (error !== undefined || result === undefined) return reject(storageError(error, 'setting a record aside'))
        if (result.outcome === 'applied' && result.current === undefined) this.#count++
        resolve()
      })
    })
  }

  /** All of them, partition by partition. */
  async *entries(): AsyncGenerator<StoredRecord> {
    for (const partition of await this.#records.partitions()) {
      for (let last: StoredRecord | undefined; ;) {
        const page: readonly StoredRecord[] = await this.#records.page(partition, last, PAGE_RECORDS, PAGE_BYTES)
        yield* page
        last = page.at(-1)
        if (last === undefined) break
      }
    }
  }

  /** Deletes all of them. */
  async clear(): Promise<void> {
    for (const partition of await this.#records.partitions()) await this.#records.dropPartition(partition)
    this.#count = 0
  }

  /** Resolves when everything that was taken is kept. */
  close(): Promise<void> {
    return this.#records.close()
  }
}
