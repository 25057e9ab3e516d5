import { EventEmitter } from 'node:events'
import { assertArray, assertObjects, hasMethods, misuse } from '../base/arguments.ts'
import { assertKnownOptions } from '../base/options.ts'
import { wholeTtl } from '../base/ttl.ts'
import type { ConsistencyLevel, Keyspace, KeyspaceOptions, Node } from '../index.ts'

/** How to make a {@link KilovoltKeyv}. */
export interface KilovoltKeyvOptions {
  /** Name of the keyspace that holds the data. Default `'keyv'`. */
  readonly keyspace?: string | undefined
  /** Level of all operations. Default `'quorum'`: what was set is found by every node. */
  readonly consistency?: ConsistencyLevel | undefined
}

/** One of the entries of {@link KilovoltKeyv.setMany}. */
export interface KeyvStoreEntry {
  readonly key: string
  /** What Keyv's serializer has made of a value. */
  readonly value: unknown
  /** How long it lives, ms. Default: for ever. */
  readonly ttl?: number | undefined
}

/** Most single deletions under way at once. */
const DELETIONS_MAX = 1024
const OPTIONS: ReadonlySet<string> = new Set(['keyspace', 'consistency'] satisfies (keyof KilovoltKeyvOptions)[])

/**
 * A store for Keyv 5; Keyv 6 takes it through its bridge. Keys are stored as Keyv hands them over (`namespace:key`), values as the
 * text that its serializer makes. What expires does so in the cluster: it needs no sweeping by Keyv.
 *
 * Two stores over one keyspace are kept apart by their namespaces alone: none may begin with another one and a colon (`a` and
 * `a:b`), or one of them needs a keyspace of its own.
 *
 * Failures reject. Keyv 5 passes on those of `getMany`, `has` and `hasMany`, and emits those of the others as `error`. It takes a
 * `get` that failed for a miss and says nothing unless it is told `throwOnErrors`; that failure is emitted here, for it to pass on.
 *
 * @example
 * ```ts
 * const cache = new Keyv({ store: new KilovoltKeyv(node), namespace: 'users' })
 * await cache.set('ada', { name: 'Ada' }, 60_000)
 * ```
 */
export class KilovoltKeyv extends EventEmitter {
  /**
   * What Keyv 5 looks at to tell whether a store can iterate: it believes only addresses with the name of a store that it
   * knows.
   */
  readonly opts: { readonly dialect: string; readonly url: string }
  /** The part before the colon of the keys that {@link KilovoltKeyv.clear} clears; Keyv 5 sets it. */
  declare namespace?: string
  readonly #keyspace: Keyspace<string>

  /**
   * @param node - the node to go through; the app starts and stops it
   * @param options - which keyspace, and how
   * @throws KilovoltError `KV_CONFIG`
   */
  constructor(node: Pick<Node, 'keyspace'>, options: KilovoltKeyvOptions = {}) {
    super()
    if (!hasMethods(node, 'keyspace')) throw misuse('the first argument', 'a node', node)
    assertKnownOptions(options, 'KilovoltKeyv', OPTIONS)
    // One for each Keyv that uses it, of which there may be any number.
    this.setMaxListeners(0)
    const { keyspace = 'keyv', consistency } = options
    const settings: KeyspaceOptions<string, string> = { valueEncoding: 'utf8' }
    this.#keyspace = node.keyspace(keyspace, consistency === undefined ? settings : { ...settings, consistency })
    this.opts = { dialect: 'kilovolt', url: 'kilovolt://as-redis' }
  }

  /** The text of a value, or `undefined`. */
  async get(key: string): Promise<string | undefined> {
    try {
      return await this.#keyspace.get(key)
    } catch (error) {
      // Keyv 6 reports it by itself; only Keyv 5 sets a namespace here.
      if ('namespace' in this && this.listenerCount('error') > 0) this.emit('error', error)
      throw error
    }
  }

  /** Texts of many values, in the same order. */
  async getMany(keys: readonly string[]): Promise<(string | undefined)[]> {
    return this.#keyspace.getMany(keys)
  }

  /**
   * Stores a text. One that expires at once, or has expired, takes what was there away.
   *
   * @param ttl - how long it lives, ms. Default: for ever
   */
  async set(key: string, value: unknown, ttl?: number): Promise<boolean> {
    const text = textOf(value)
    const ttlMs = wholeMs(ttl)
    if (ttlMs > 0) await this.#keyspace.put(key, text, { ttl: ttlMs })
    else await this.#keyspace.delete(key)
    return true
  }

  /** Stores many texts, not atomically: when it rejects, some may have been stored. */
  async setMany(entries: readonly KeyvStoreEntry[]): Promise<boolean[]> {
    assertObjects('entries', entries)
    await this.#keyspace.batch(
      entries.map(({ key, value, ttl }) => {
        const text = textOf(value)
        const ttlMs = wholeMs(ttl)
        return ttlMs > 0 ? { type: 'put', key, value: text, ttl: ttlMs } : { type: 'del', key }
      })
    )
    return entries.map(() => true)
  }

  /** Removes a key; resolves with whether there was something. */
  async delete(key: string): Promise<boolean> {
    return this.#keyspace.delete(key)
  }

  /** Removes many keys; resolves with whether there was something under each. */
  async deleteMany(keys: readonly string[]): Promise<boolean> {
    assertArray('keys', keys)
    let all = true
    for (let from = 0; from < keys.length; from += DELETIONS_MAX) {
      const deletions = keys.slice(from, from + DELETIONS_MAX).map(key => this.#keyspace.delete(key))
      if ((await Promise.all(deletions)).includes(false)) all = false
    }
    return all
  }

  /** Whether a key has a value. */
  async has(key: string): Promise<boolean> {
    return this.#keyspace.has(key)
  }

  /** Whether each key has a value, in the same order. */
  async hasMany(keys: readonly string[]): Promise<boolean[]> {
    return (await this.getMany(keys)).map(text => text !== undefined)
  }

  /**
   * Removes all keys of the {@link KilovoltKeyv.namespace}, or all of the keyspace when there is none. A key that begins with it and
   * a colon is one of them, even if another store has it as its own: see {@link KilovoltKeyv}.
   */
  async clear(): Promise<void> {
    await this.#keyspace.clear(withPrefix(this.namespace))
  }

  /** All keys of a namespace with their texts, in the order of the keys. */
  async *iterator(namespace?: string): AsyncGenerator<[key: string, text: string], void> {
    yield* this.#keyspace.entries(withPrefix(namespace))
  }
}

function withPrefix(namespace: string | undefined): { readonly prefix?: string } {
  return namespace === undefined || namespace === '' ? {} : { prefix: `${namespace}:` }
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  throw new TypeError(`kilovolt stores what Keyv's serializer makes, a string, not ${typeof value}: leave it on`)
}

/** What a write takes: `Infinity` for what has no end. */
function wholeMs(ttl: number | undefined): number {
  if (ttl === undefined || ttl === null || Number.isNaN(ttl)) return Infinity
  if (typeof ttl !== 'number') throw misuse('the ttl', 'a number of ms', ttl)
  return wholeTtl(ttl)
}
