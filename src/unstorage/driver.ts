import { assertObjects, hasMethods, misuse } from '../base/arguments.ts'
import { KilovoltError } from '../base/errors.ts'
import { assertKnownOptions, show } from '../base/options.ts'
import { isTtl, wholeTtl } from '../base/ttl.ts'
import type { BatchOperation, ConsistencyLevel, Keyspace, Node, PutOptions } from '../index.ts'

/** How to make a driver. */
export interface DriverOptions {
  /** Name of the keyspace that holds the data. Default `'unstorage'`. */
  readonly keyspace?: string | undefined
  /** Level of all operations. Default `'quorum'`: what was set is found by every node. */
  readonly consistency?: ConsistencyLevel | undefined
  /**
   * How long an item lives that names no time of its own, **seconds**, as in unstorage's other drivers; 0, `Infinity`, or more than
   * 10^11, for ever. Default: for ever.
   */
  readonly ttl?: number | undefined
  /** What stands before the keys of all items, with a colon after it: nothing else is listed or cleared. Default: nothing. */
  readonly base?: string | undefined
}

/** What an operation on one item may be told. */
export interface DriverItemOptions {
  /** How long the item lives, **seconds**. Default: the driver's. */
  readonly ttl?: number | undefined
}

/** One of many items. */
export interface DriverItem {
  readonly key: string
  readonly options?: DriverItemOptions | undefined
}

/** A driver in the form that unstorage's `createStorage` and `mount` take. */
export interface KilovoltDriver {
  /** `'kilovolt'`. */
  readonly name: string
  /** What the driver was made with. */
  readonly options: DriverOptions
  /** The keyspace; its values are bytes. */
  getInstance(): Keyspace<Uint8Array>
  /** Whether there is an item. */
  hasItem(key: string): Promise<boolean>
  /** The text of an item, or `null`. */
  getItem(key: string): Promise<string | null>
  /** The texts of many items. */
  getItems(items: readonly DriverItem[]): Promise<{ key: string; value: string | null }[]>
  /** The bytes of an item, or `null`. */
  getItemRaw(key: string): Promise<Buffer | null>
  /** Stores a text. */
  setItem(key: string, value: string, options?: DriverItemOptions): Promise<void>
  /** Stores many texts, not atomically. */
  setItems(
    items: readonly (DriverItem & { readonly value: string })[],
    commonOptions?: DriverItemOptions
  ): Promise<void>
  /** Stores bytes (an `ArrayBuffer` or a view of one) or a text. */
  setItemRaw(key: string, value: unknown, options?: DriverItemOptions): Promise<void>
  /** Removes an item. */
  removeItem(key: string): Promise<void>
  /** All keys that begin with a base. */
  getKeys(base?: string): Promise<string[]>
  /** Removes all items whose keys begin with a base. */
  clear(base?: string): Promise<void>
}

const OPTIONS: ReadonlySet<string> = new Set([
  'keyspace',
  'consistency',
  'ttl',
  'base'
] satisfies (keyof DriverOptions)[])

/**
 * A driver for unstorage. Its `watch` tells of what this process changes through the same storage, as with most drivers.
 *
 * @param node - the node to go through; the app starts and stops it
 * @throws KilovoltError `KV_CONFIG`
 *
 * @example
 * ```ts
 * const storage = createStorage({ driver: createDriver(node) })
 * await storage.setItem('users:ada', { name: 'Ada' }, { ttl: 60 })
 * ```
 */
export function createDriver(node: Pick<Node, 'keyspace'>, options: DriverOptions = {}): KilovoltDriver {
  if (!hasMethods(node, 'keyspace')) throw misuse('the first argument', 'a node', node)
  assertKnownOptions(options, 'the driver', OPTIONS)
  const { keyspace: name = 'unstorage', consistency, ttl } = options
  if (ttl !== undefined && ttl !== 0 && !isTtl(ttl)) {
    throw new KilovoltError('KV_CONFIG', `"ttl" must be a number of seconds, not ${show(ttl)}`)
  }
  const root = rootOf(options.base)
  const keyspace = node.keyspace<Buffer>(name, {
    valueEncoding: 'buffer',
    ...(consistency === undefined ? {} : { consistency })
  })
  const named = (key: string): string => root + text('the key', key)
  const store = (key: string, value: Buffer, item: DriverItemOptions | undefined): Promise<void> =>
    keyspace.put(named(key), value, lifeOf(item?.ttl ?? ttl))
  const below = (base: string | undefined): { readonly prefix: string } => ({
    prefix: root + text('the base', base ?? '')
  })
  return {
    name: 'kilovolt',
    options,
    getInstance: () => keyspace,
    hasItem: async key => keyspace.has(named(key)),
    getItem: async key => textOf(await keyspace.get(named(key))),
    getItems: async items => {
      assertObjects('items', items)
      const values = await keyspace.getMany(items.map(({ key }) => named(key)))
      return items.map(({ key }, index) => ({ key, value: textOf(values[index]) }))
    },
    getItemRaw: async key => (await keyspace.get(named(key))) ?? null,
    setItem: async (key, value, item) => store(key, Buffer.from(text('the value', value)), item),
    setItems: async (items, common) => {
      assertObjects('items', items)
      await keyspace.batch(
        items.map(({ key, value, options: item }): BatchOperation<Buffer> => ({
          type: 'put',
          key: named(key),
          value: Buffer.from(text('the value', value)),
          ...lifeOf(item?.ttl ?? common?.ttl ?? ttl)
        }))
      )
    },
    setItemRaw: async (key, value, item) => store(key, bytesOf(value), item),
    removeItem: async key => void (await keyspace.delete(named(key))),
    getKeys: async base => (await keyspace.keys(below(base)).all()).map(key => key.slice(root.length)),
    clear: async base => void (await keyspace.clear(below(base)))
  }
}

/** What stands before all keys, in the form that unstorage gives to keys. */
function rootOf(base: string | undefined): string {
  if (base === undefined) return ''
  if (typeof base !== 'string') throw new KilovoltError('KV_CONFIG', `"base" must be a string, not ${show(base)}`)
  const parts = base.split(/[/\\:]/u).filter(part => part !== '')
  return parts.length === 0 ? '' : `${parts.join(':')}:`
}

/** Whatever else it is would be stored under what `String` makes of it. */
function text(what: string, value: unknown): string {
  if (typeof value !== 'string') throw misuse(what, 'a string', value)
  return value
}

/** Seconds to what a write takes; 0 is for ever, as in unstorage's other drivers. */
function lifeOf(ttl: number | undefined): Pick<PutOptions, 'ttl'> {
  return ttl === undefined || ttl === 0 ? {} : { ttl: wholeTtl(ttl * 1000) }
}

function textOf(bytes: Buffer | undefined): string | null {
  return bytes === undefined ? null : bytes.toString('utf8')
}

function bytesOf(value: unknown): Buffer {
  if (typeof value === 'string') return Buffer.from(value)
  if (value instanceof ArrayBuffer) return Buffer.from(value)
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  throw new TypeError(
    `a raw item is bytes or a string, not ${value === null ? 'null' : `a value of type ${typeof value}`}`
  )
}
