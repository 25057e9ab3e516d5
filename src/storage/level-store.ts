import type { AbstractBatchOperation, AbstractIterator, AbstractLevel } from 'abstract-level'
import { ownBytes } from '../base/bytes.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import { storageError } from './storage-error.ts'
import type { Store, StoreChange, StoreEntry, StoreRange } from './store.ts'

/**
 * An abstract-level database, version 3 or later, by the few members that all of them have in common: abstract-level's
 * own type is invariant in its encodings and would refuse most.
 */
export interface LevelDatabase {
  /** `opening`, `open`, `closing` or `closed`. */
  readonly status: string
  /** The manifest: what the database can do. */
  readonly supports: object
  /** Opens it; does nothing when it is open. */
  open(): Promise<void>
  /** Closes it; does nothing when it is closed. */
  close(): Promise<void>
  /** Calls back when it has been closed. */
  once?(event: 'closed', listener: () => void): unknown
}

/** Settings of a {@link LevelStore}. */
export interface LevelStoreOptions {
  /**
   * Longest list of keys that is read synchronously, where the database can. Default: any length for a database in
   * memory, 8 for one on disk; 0 never reads synchronously.
   */
  readonly syncReadsMax?: number
}

type Database = AbstractLevel<Uint8Array, Uint8Array, Uint8Array>
type Scan = Pick<AbstractIterator<Database, Uint8Array, Uint8Array>, 'nextv'>

/**
 * A synchronous read of a key that is cached costs 3–6 µs on LevelDB, an asynchronous one 20–50 µs for the trip to the
 * thread pool; the longer the list, the smaller the difference (170 against 240 µs for 64 keys). A read that has to go to
 * the medium stops the event loop instead of a pool thread: some 0.1 ms for each key on a solid-state disk, 1–2 ms for
 * the first after a cold start. Short lists are therefore read at once and long ones in the pool.
 */
const SYNC_READS_MAX_ON_DISK = 8
/**
 * Bytes an iterator of a disk database prefetches at a time, which is also by how much a page may exceed its bound. Long
 * scans cost up to a third less than with the default of 16 KiB.
 */
const PREFETCH = { highWaterMarkBytes: 256 * 1024 }

/** How a database is told that keys and values are bytes; the format it works in itself costs no conversion. */
interface BytesEncoding {
  readonly keyEncoding: 'view' | 'buffer'
  readonly valueEncoding: 'view' | 'buffer'
}

/** Databases that a store has taken over. The lock of one on disk keeps out other objects only, not the same one twice. */
const taken = new WeakSet<LevelDatabase>()

/**
 * The {@link Store} over any abstract-level database. What the database can do is told by its manifest (`supports`),
 * never by its class, so that wrapped and foreign databases work.
 */
export class LevelStore implements Store {
  readonly permanent: boolean
  readonly readsAtOnce: boolean
  readonly #database: Database
  readonly #encoding: BytesEncoding
  readonly #syncReadsMax: number
  #closing: Promise<void> | undefined

  /**
   * Takes over a database: it is opened if it is not open yet, and closed with the store.
   *
   * @throws KilovoltError `KV_STORAGE_IN_USE` when another process, another instance or another store has it open,
   *   `KV_STORAGE` when it cannot be opened for another reason
   */
  static async open(database: LevelDatabase, options: LevelStoreOptions = {}): Promise<LevelStore> {
    if (taken.has(database)) throw inUseError()
    taken.add(database)
    try {
      await database.open()
    } catch (error) {
      taken.delete(database)
      throw openError(error)
    }
    try {
      return new LevelStore(database as unknown as Database, options)
    } catch (error) {
      taken.delete(database)
      await database.close().catch(() => {})
      throw storageError(error, 'keeping bytes in this database')
    }
  }

  private constructor(database: Database, { syncReadsMax }: LevelStoreOptions) {
    // Throws when the database only takes text.
    const format = database.keyEncoding('view').format === 'buffer' ? 'buffer' : 'view'
    this.#encoding = { keyEncoding: format, valueEncoding: format }
    const { permanence, getSync } = database.supports as { readonly permanence?: boolean; readonly getSync?: boolean }
    this.permanent = permanence === true
    this.#database = database
    this.#syncReadsMax = getSync === true ? (syncReadsMax ?? (this.permanent ? SYNC_READS_MAX_ON_DISK : Infinity)) : 0
    this.readsAtOnce = this.#syncReadsMax > 0
  }

  get(key: Uint8Array): Uint8Array | undefined | Promise<Uint8Array | undefined> {
    if (!this.readsAtOnce) return this.#getLater(key)
    try {
      return this.#database.getSync(key, this.#encoding)
    } catch (error) {
      return Promise.reject(storageError(error, 'reading from the database'))
    }
  }

  getMany(
    keys: readonly Uint8Array[],
    asOne: boolean = false
  ): readonly (Uint8Array | undefined)[] | Promise<readonly (Uint8Array | undefined)[]> {
    // A database on disk writes in another thread, so that a batch may come between two reads of this one; in the pool
    // they share a snapshot. One in memory writes in this thread, in one go.
    const isTorn = asOne && this.permanent && keys.length > 1
    if (isTorn || keys.length > this.#syncReadsMax) return this.#getManyLater(keys)
    try {
      const values: (Uint8Array | undefined)[] = []
      for (const key of keys) values.push(this.#database.getSync(key, this.#encoding))
      return values
    } catch (error) {
      return Promise.reject(storageError(error, 'reading from the database'))
    }
  }

  async batch(changes: readonly StoreChange[], { sync }: { readonly sync: boolean }): Promise<void> {
    // The encodings go into each operation: abstract-level merges options of the batch into every one of them by a
    // copy that costs more than the rest of the write. Databases that know no `sync` ignore it.
    const operations = changes.map(({ key, value }) => this.#operation(key, value))
    try {
      if (sync && this.permanent) await this.#database.batch(operations, { sync: true } as object)
      else await this.#database.batch(operations)
    } catch (error) {
      throw storageError(error, 'writing to the database')
    }
  }

  async page(
    range: StoreRange,
    limit: number,
    maxBytes: number = Infinity,
    isReverse = false
  ): Promise<readonly StoreEntry[]> {
    if (limit <= 0) return []
    try {
      const iterator = this.#database.iterator({
        ...this.#encoding,
        ...bounds(range),
        reverse: isReverse,
        limit,
        ...PREFETCH
      })
      try {
        return await take(iterator, limit, maxBytes)
      } finally {
        await iterator.close()
      }
    } catch (error) {
      throw storageError(error, 'scanning the database')
    }
  }

  async clear(range: StoreRange): Promise<void> {
    try {
      await this.#database.clear({ keyEncoding: this.#encoding.keyEncoding, ...bounds(range) })
    } catch (error) {
      throw storageError(error, 'deleting a range of the database')
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  onLost(listener: (error: KilovoltError) => void): void {
    const database: LevelDatabase = this.#database
    database.once?.('closed', () => {
      if (this.#closing !== undefined) return
      listener(new KilovoltError('KV_STORAGE', 'the database was closed while its node was running'))
      // It may be opened again, and closed once more.
      this.onLost(listener)
    })
  }

  async #close(): Promise<void> {
    try {
      await this.#database.close()
    } catch (error) {
      throw storageError(error, 'closing the database')
    } finally {
      taken.delete(this.#database)
    }
  }

  async #getLater(key: Uint8Array): Promise<Uint8Array | undefined> {
    try {
      return await this.#database.get(key, this.#encoding)
    } catch (error) {
      throw storageError(error, 'reading from the database')
    }
  }

  async #getManyLater(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    try {
      return await this.#database.getMany(keys as Uint8Array[], this.#encoding)
    } catch (error) {
      throw storageError(error, 'reading from the database')
    }
  }

  #operation(key: Uint8Array, value: Uint8Array | undefined): AbstractBatchOperation<Database, Uint8Array, Uint8Array> {
    const { keyEncoding, valueEncoding } = this.#encoding
    if (value === undefined) return { type: 'del', key, keyEncoding }
    // A database in memory keeps the very array that it is given.
    return { type: 'put', key, value: this.permanent ? value : ownBytes(value), keyEncoding, valueEncoding }
  }
}

async function take(iterator: Scan, limit: number, maxBytes: number): Promise<StoreEntry[]> {
  let entries: StoreEntry[] = []
  let bytes = 0
  while (entries.length < limit && bytes < maxBytes) {
    // A disk database returns as much at a time as it has prefetched, one in memory all at once.
    const more = await iterator.nextv(limit - entries.length)
    if (more.length === 0) break
    for (const [key, value] of more) bytes += key.length + value.length
    if (entries.length === 0) entries = more
    else for (const entry of more) entries.push(entry)
  }
  return entries
}

function bounds({ gte, lt }: StoreRange): { gte: Uint8Array; lt?: Uint8Array } {
  return lt === undefined ? { gte } : { gte, lt }
}

function openError(error: unknown): KilovoltError {
  if (isLocked(error)) return inUseError(error)
  const reason = error instanceof Error && error.cause !== undefined ? error.cause : error
  return new KilovoltError('KV_STORAGE', `the database could not be opened: ${messageOf(reason)}`, { cause: error })
}

function inUseError(cause?: unknown): KilovoltError {
  return new KilovoltError(
    'KV_STORAGE_IN_USE',
    'the database is open elsewhere, in another process or in this one: a store belongs to one node at a time; ' +
      'stop the other node or give this one a directory of its own',
    { cause }
  )
}

/** The code is set on the cause: abstract-level wraps what the database reports. */
function isLocked(error: unknown): boolean {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if ('code' in at && at.code === 'LEVEL_LOCKED') return true
  }
  return false
}
