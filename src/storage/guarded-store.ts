import { KilovoltError } from '../base/errors.ts'
import type { Clock } from '../runtime/clock.ts'
import { storageError } from './storage-error.ts'
import type { Store, StoreChange, StoreEntry, StoreRange } from './store.ts'

/** What a guarded store tells. */
export interface GuardListener {
  /** A write has failed, with this; until one succeeds writes are refused. */
  readonly onReadOnly: (error: KilovoltError) => void
  /** A write has succeeded again. */
  readonly onWritable: () => void
}

/** How often a write is let through to see whether the medium is back, ms. */
const TRY_EVERY_MS = 1000

/**
 * A store that stops trying when its medium fails: a full disk, a read-only remount, an I/O error, a database that the app
 * closes. After a failed batch further ones are refused at once with `KV_READ_ONLY`, so that those who wait for a copy learn
 * it soon and count on the others; once a second one is let through, and the first to succeed ends it. Reads go through as
 * before.
 */
export class GuardedStore implements Store {
  readonly permanent: boolean
  readonly readsAtOnce: boolean
  readonly visit?: NonNullable<Store['visit']>
  readonly #store: Store
  readonly #clock: Pick<Clock, 'monotonicMs'>
  readonly #listener: GuardListener
  #failure: KilovoltError | undefined
  #nextTryMs = 0

  constructor(store: Store, clock: Pick<Clock, 'monotonicMs'>, listener: GuardListener) {
    this.permanent = store.permanent
    this.readsAtOnce = store.readsAtOnce
    this.#store = store
    this.#clock = clock
    this.#listener = listener
    if (store.visit !== undefined) this.visit = store.visit.bind(store)
    store.onLost?.(error => this.#refuse(error))
  }

  /** Why nothing can be written now; `undefined` when it can. */
  get failure(): KilovoltError | undefined {
    return this.#failure
  }

  get(key: Uint8Array): Uint8Array | undefined | Promise<Uint8Array | undefined> {
    return this.#store.get(key)
  }

  getMany(
    keys: readonly Uint8Array[],
    asOne?: boolean
  ): readonly (Uint8Array | undefined)[] | Promise<readonly (Uint8Array | undefined)[]> {
    return this.#store.getMany(keys, asOne)
  }

  batch(changes: readonly StoreChange[], options: { readonly sync: boolean }): Promise<void> {
    if (this.#failure !== undefined && !this.#isTryDue()) return Promise.reject(readOnly(this.#failure))
    return this.#store.batch(changes, options).then(
      () => this.#succeeded(),
      (error: unknown) => this.#failed(error)
    )
  }

  page(range: StoreRange, limit: number, maxBytes?: number, isReverse?: boolean): Promise<readonly StoreEntry[]> {
    return this.#store.page(range, limit, maxBytes, isReverse)
  }

  clear(range: StoreRange): Promise<void> {
    return this.#store.clear(range)
  }

  close(): Promise<void> {
    return this.#store.close()
  }

  #isTryDue(): boolean {
    const nowMs = this.#clock.monotonicMs()
    if (nowMs < this.#nextTryMs) return false
    this.#nextTryMs = nowMs + TRY_EVERY_MS
    return true
  }

  #succeeded(): void {
    if (this.#failure === undefined) return
    this.#failure = undefined
    this.#listener.onWritable()
  }

  #failed(error: unknown): never {
    const failure = storageError(error, 'a write to the store')
    this.#refuse(failure)
    throw failure
  }

  #refuse(failure: KilovoltError): void {
    const isNew = this.#failure === undefined
    this.#failure = failure
    this.#nextTryMs = this.#clock.monotonicMs() + TRY_EVERY_MS
    if (isNew) this.#listener.onReadOnly(failure)
  }
}

function readOnly(failure: KilovoltError): KilovoltError {
  return new KilovoltError('KV_READ_ONLY', `nothing can be written here at the moment: ${failure.message}`, {
    cause: failure,
    retryable: true
  })
}
