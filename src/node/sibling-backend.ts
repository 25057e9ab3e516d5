import { copyBytes, toLatin1 } from '../base/bytes.ts'
import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import type { ByteRange } from '../model/key-range.ts'
import type { RecordBytes } from '../model/record.ts'
import { siblingsOf } from '../model/sibling-set.ts'
import type {
  BackendOptions,
  BackendResults,
  BackendScan,
  BackendScanForm,
  BackendWrite,
  KeyspaceBackend
} from './backend.ts'
import type { KeyTurns } from './key-turns.ts'

/** Makes one sibling of those of a key that has too many; each step of that is told what it may take. */
export type MakeRoom = (key: Uint8Array, bounds: () => Pick<BackendOptions, 'timeoutMs' | 'signal'>) => Promise<void>

/** Writes of one call that are under way at the same time. */
const AT_ONCE = 256

/**
 * The coordinator's verbs as a keyspace with siblings means them: what is put comes beside what its author has not seen, and
 * what is deleted is what was seen of the key.
 */
export class SiblingBackend implements KeyspaceBackend {
  readonly #inner: KeyspaceBackend
  readonly #turns: Pick<KeyTurns, 'timeLeft'>
  readonly #makeRoom: MakeRoom | undefined

  constructor(inner: KeyspaceBackend, turns: Pick<KeyTurns, 'timeLeft'>, makeRoom: MakeRoom | undefined) {
    this.#inner = inner
    this.#turns = turns
    this.#makeRoom = makeRoom
  }

  get nowMs(): number {
    return this.#inner.nowMs
  }

  get(
    keyspace: Uint8Array,
    key: Uint8Array,
    options: BackendOptions
  ): RecordBytes | undefined | Promise<RecordBytes | undefined> {
    return this.#inner.get(keyspace, key, options)
  }

  getMany(
    keyspace: Uint8Array,
    keys: readonly Uint8Array[],
    options: BackendOptions
  ): Promise<BackendResults<RecordBytes>> {
    return this.#inner.getMany(keyspace, keys, options)
  }

  scan(keyspace: Uint8Array, range: ByteRange, options: BackendOptions, form: BackendScanForm): BackendScan {
    return this.#inner.scan(keyspace, range, options, form)
  }

  mint(...write: Parameters<KeyspaceBackend['mint']>): ReturnType<KeyspaceBackend['mint']> {
    return this.#inner.mint(...write)
  }

  async put(
    keyspace: Uint8Array,
    key: Uint8Array,
    value: Uint8Array | undefined,
    options: BackendOptions
  ): Promise<{ readonly existed: boolean }> {
    const { context, packed } = options
    if (value === undefined && context === undefined) return this.#deleteSeen(keyspace, key, options)
    if (this.#makeRoom === undefined) return this.#inner.mint(keyspace, key, { value, packed, context }, options)
    // What is tried again must be what it was.
    const write = { value: value && copyBytes(value), packed, context }
    const left = this.#turns.timeLeft(options)
    try {
      return await this.#inner.mint(keyspace, key, write, options)
    } catch (error) {
      if (!isKilovoltError(error, 'KV_TOO_MANY_SIBLINGS')) throw error
      await this.#makeRoom(key, () => ({ timeoutMs: left(), signal: options.signal }))
      return this.#inner.mint(keyspace, key, write, { ...options, timeoutMs: left() })
    }
  }

  /** One by one, those of one key in their order: nothing is whole in a partition here, as owners mint each for itself. */
  async putMany(
    keyspace: Uint8Array,
    writes: readonly BackendWrite[],
    options: BackendOptions
  ): Promise<BackendResults<{ readonly existed: boolean }>> {
    const left = this.#turns.timeLeft(options)
    const own = writes.map(write => ({ ...write, value: write.value && copyBytes(write.value) }))
    const results: ({ readonly existed: boolean } | undefined)[] = Array.from({ length: own.length })
    const failures = new Map<number, unknown>()
    const byKey = new Map<string, number[]>()
    for (const [i, { key }] of own.entries()) {
      const name = toLatin1(key)
      const same = byKey.get(name)
      if (same === undefined) byKey.set(name, [i])
      else same.push(i)
    }
    const one = async (i: number): Promise<void> => {
      const { key, value, ttl, packed, context } = own[i]!
      try {
        results[i] = await this.put(keyspace, key, value, { ...options, timeoutMs: left(), ttl, packed, context })
      } catch (error) {
        failures.set(i, error)
      }
    }
    const keys = [...byKey.values()]
    let next = 0
    const work = async (): Promise<void> => {
      while (next < keys.length) for (const i of keys[next++]!) await one(i)
    }
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, keys.length) }, work))
    return { results, failures }
  }

  write(): Promise<never> {
    return Promise.reject(new KilovoltError('KV_CONFIG', 'nothing follows a single value in a keyspace with siblings'))
  }

  /** What a reader sees now is what goes; what is put at the same time stays. */
  async #deleteSeen(
    keyspace: Uint8Array,
    key: Uint8Array,
    options: BackendOptions
  ): Promise<{ readonly existed: boolean }> {
    const { requirement, signal } = options
    const left = this.#turns.timeLeft(options)
    const own = copyBytes(key)
    const record = await this.#inner.get(keyspace, own, { requirement, timeoutMs: left(), signal })
    if (record === undefined) return { existed: false }
    const write = { value: undefined, context: siblingsOf(record) }
    return this.#inner.mint(keyspace, own, write, { ...options, timeoutMs: left() })
  }
}
