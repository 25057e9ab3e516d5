import { equalBytes } from '../base/bytes.ts'
import { hasSiblings, type RecordBytes, recordExpiresAt } from '../model/record.ts'
import { liveSiblings, siblingsOf } from '../model/sibling-set.ts'
import type { Requirement } from '../model/quorum.ts'
import type { BackendOptions, BackendSource, KeyspaceBackend } from './backend.ts'
import { encodeContext, type Resolver, resolved } from './conflicts.ts'
import type { KeyspaceValues } from './keyspace-values.ts'
import { type MakeRoom, SiblingBackend } from './sibling-backend.ts'

/** What the siblings of a keyspace need to know of it. */
export interface SiblingValuesDeps<V, K> {
  readonly source: BackendSource
  readonly name: string
  readonly nameBytes: Uint8Array
  readonly values: Pick<KeyspaceValues<V, never>, 'decode' | 'decodeBytes' | 'encodeOwn' | 'ownBodyOf' | 'plainBytes'>
  readonly decodeKey: (bytes: Uint8Array) => K
  /** Level of what is written back. */
  readonly write: Requirement | 'any'
}

/** What a read of a key with siblings has come to. */
interface Found<V> {
  /** Those that differ, the newest last. */
  readonly siblings: readonly V[]
  readonly value: V
}

/** Resolved values that are being written back at a time; others are left to the next reader. */
const WRITE_BACKS_MAX = 64
/** Those of what nobody waits for. */
const NO_BOUNDS = { timeoutMs: undefined, signal: undefined }

/** The values of a keyspace with siblings: the newest of them, or what a resolver makes of them. */
export class SiblingValues<V, K> {
  readonly #deps: SiblingValuesDeps<V, K>
  readonly #resolver: Resolver<V, K> | undefined
  readonly #writingBack = new Set<string>()

  constructor(deps: SiblingValuesDeps<V, K>, resolver: Resolver<V, K> | undefined) {
    this.#deps = deps
    this.#resolver = resolver
  }

  /** The source of a keyspace, with writes as it means them. */
  get source(): BackendSource {
    const { source } = this.#deps
    const makeRoom = this.#resolver === undefined ? undefined : this.#resolveNow
    return {
      packing: source.packing,
      get data(): KeyspaceBackend {
        return new SiblingBackend(source.data, source.turns, makeRoom)
      },
      turns: source.turns,
      get watches() {
        return source.watches
      },
      get indexes() {
        return source.indexes
      }
    }
  }

  /** The value of a live record. */
  valueOf(record: RecordBytes, key: Uint8Array): V | Promise<V> {
    if (!hasSiblings(record)) return this.#deps.values.decode(record, key)
    const found = this.#find(record, key)
    return found instanceof Promise ? found.then(({ value }) => value) : found.value
  }

  /** As {@link SiblingValues.valueOf}, and writes back what was made of several, without waiting for that. */
  read(record: RecordBytes, key: Uint8Array): V | Promise<V> {
    if (!hasSiblings(record)) return this.#deps.values.decode(record, key)
    const found = this.#find(record, key)
    if (found instanceof Promise) return found.then(later => this.#told(later, record, key))
    return this.#told(found, record, key)
  }

  /**
   * All that a reader can be told of a live record. Nothing is written back: the context does not cover that, so that a put with
   * it would find beside it what it was to take the place of.
   */
  async entry(record: RecordBytes, key: Uint8Array): Promise<Found<V> & { readonly context: string }> {
    const found = await this.#find(record, key)
    return { ...found, context: encodeContext(this.#deps.nameBytes, key, siblingsOf(record)) }
  }

  #find(record: RecordBytes, key: Uint8Array): Found<V> | Promise<Found<V>> {
    const { source, values } = this.#deps
    const set = siblingsOf(record)
    const live = liveSiblings(set, source.data.nowMs)
    // It has ended since it was read: it is as it was then.
    const siblings = live.length > 0 ? live : set.siblings.slice(-1)
    const plain = siblings.map(sibling => values.plainBytes(sibling))
    if (plain.some(bytes => bytes instanceof Promise)) {
      return Promise.all(plain.map(async bytes => bytes)).then(all => this.#foundIn(all, key))
    }
    return this.#foundIn(plain as Uint8Array[], key)
  }

  /** What is the same twice is one. */
  #foundIn(plain: readonly Uint8Array[], key: Uint8Array): Found<V> {
    const { values, decodeKey, name } = this.#deps
    const distinct: Uint8Array[] = []
    for (const bytes of [...plain].reverse()) {
      if (!distinct.some(other => equalBytes(other, bytes))) distinct.unshift(bytes)
    }
    const siblings = distinct.map(bytes => values.decodeBytes(bytes, key))
    const newest = siblings.at(-1)!
    if (this.#resolver === undefined || siblings.length === 1) return { siblings, value: newest }
    // It may change what it is given.
    const given = distinct.map(bytes => values.decodeBytes(bytes, key))
    return { siblings, value: resolved(this.#resolver, given, decodeKey(key), name) }
  }

  #told({ siblings, value }: Found<V>, record: RecordBytes, key: Uint8Array): V {
    if (this.#resolver !== undefined && siblings.length > 1) this.#writeBack(value, record, key)
    return value
  }

  /** A best effort: who reads it next makes the same of it. */
  #writeBack(value: V, record: RecordBytes, key: Uint8Array): void {
    const name = Buffer.from(key).toString('latin1')
    if (this.#writingBack.size >= WRITE_BACKS_MAX || this.#writingBack.has(name)) return
    this.#writingBack.add(name)
    void this.#store(value, record, key).then(
      () => this.#writingBack.delete(name),
      () => this.#writingBack.delete(name)
    )
  }

  async #store(
    value: V,
    record: RecordBytes,
    key: Uint8Array,
    bounds: ReturnType<Parameters<MakeRoom>[1]> = NO_BOUNDS
  ): Promise<void> {
    const { source, values, nameBytes, write } = this.#deps
    const { data } = source
    const body = await values.ownBodyOf(values.encodeOwn(value))
    const expiresAt = recordExpiresAt(record)
    const ttl = expiresAt === undefined ? undefined : Math.ceil(expiresAt - data.nowMs)
    if (ttl !== undefined && ttl < 1) return
    const call: BackendOptions = { requirement: write, ...bounds, ttl }
    await data.mint(nameBytes, key, { ...body, context: siblingsOf(record) }, call)
  }

  /** Makes one of the siblings of a key, and waits until that is stored. */
  readonly #resolveNow: MakeRoom = async (key, bounds) => {
    const { source, nameBytes } = this.#deps
    const record = await source.data.get(nameBytes, key, { requirement: 'quorum', ...bounds() })
    if (record === undefined) return
    const { value } = await this.#find(record, key)
    await this.#store(value, record, key, bounds())
  }
}
