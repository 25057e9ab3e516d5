import type {
  AbstractBatchDelOperation,
  AbstractBatchOptions,
  AbstractBatchPutOperation,
  AbstractClearOptions,
  AbstractDatabaseOptions,
  AbstractDelOptions,
  AbstractGetManyOptions,
  AbstractGetOptions,
  AbstractHasManyOptions,
  AbstractHasOptions,
  AbstractIteratorOptions,
  AbstractKeyIteratorOptions,
  AbstractPutOptions,
  AbstractValueIteratorOptions
} from 'abstract-level'
import { KilovoltError } from '../base/errors.ts'
import { assertOptions, slips, unknownOption } from '../base/options.ts'
import type { ConsistencyLevel, PutOptions, ReadOptions, WriteOptions } from '../index.ts'

/** How to make a {@link KilovoltLevel}: what every abstract-level database takes, and these. */
export interface KilovoltLevelOptions<K, V> extends AbstractDatabaseOptions<K, V> {
  /** Name of the keyspace that holds the data; two databases over one keyspace are the same data. */
  readonly keyspace: string
  /**
   * Level of operations that do not name one. Default `'quorum'`, at which every read sees what was acknowledged before;
   * at `'one'` a scan or a `clear()` may miss what was just written.
   */
  readonly consistency?: ConsistencyLevel | undefined
  /**
   * Whether a `{tag}` within a key decides where it is kept. Default false: keys that are JSON begin with a brace and mean
   * nothing by it. They are stored behind two bytes, which takes their longest length to 1,022. With `true` keys are
   * stored as they are: to share a keyspace with code that does not go through Level.
   */
  readonly hashTags?: boolean | undefined
}

/** Options of reads that travel through to the keyspace, from sublevels too. */
export type LevelReadOptions = Pick<ReadOptions, 'consistency' | 'timeoutMs' | 'signal' | 'r'>

/** Options of writes that travel through to the keyspace, from sublevels too. */
export type LevelWriteOptions = Pick<WriteOptions, 'consistency' | 'timeoutMs' | 'signal' | 'w'>

/** Options of what stores values: with `ttl`, how long they live, ms. Default: for ever. */
export type LevelStoreOptions = LevelWriteOptions & Pick<PutOptions, 'ttl'>

/** Options of {@link KilovoltLevel.get}. */
export interface LevelGetOptions<K, V> extends AbstractGetOptions<K, V>, LevelReadOptions {}
/** Options of {@link KilovoltLevel.getMany}. */
export interface LevelGetManyOptions<K, V> extends AbstractGetManyOptions<K, V>, LevelReadOptions {}
/** Options of {@link KilovoltLevel.has}. */
export interface LevelHasOptions<K> extends AbstractHasOptions<K>, LevelReadOptions {}
/** Options of {@link KilovoltLevel.hasMany}. */
export interface LevelHasManyOptions<K> extends AbstractHasManyOptions<K>, LevelReadOptions {}
/** Options of {@link KilovoltLevel.put}. */
export interface LevelPutOptions<K, V> extends AbstractPutOptions<K, V>, LevelStoreOptions {}
/** Options of {@link KilovoltLevel.del}. */
export interface LevelDelOptions<K> extends AbstractDelOptions<K>, LevelWriteOptions {}
/** Options of {@link KilovoltLevel.batch}; a `ttl` here is that of every put that has none of its own. */
export interface LevelBatchOptions<K, V> extends AbstractBatchOptions<K, V>, LevelStoreOptions {}
/** One operation of a batch; a put may have a `ttl` of its own. */
export type LevelBatchOperation<TDatabase, K, V> =
  (AbstractBatchPutOperation<TDatabase, K, V> & Pick<PutOptions, 'ttl'>) | AbstractBatchDelOperation<TDatabase, K>
/** Options of {@link KilovoltLevel.clear}. */
export interface LevelClearOptions<K> extends AbstractClearOptions<K>, LevelReadOptions {}
/** Options of {@link KilovoltLevel.iterator}. */
export interface LevelIteratorOptions<K, V> extends Omit<AbstractIteratorOptions<K, V>, 'signal'>, LevelReadOptions {}
/** Options of {@link KilovoltLevel.keys}. */
export interface LevelKeyIteratorOptions<K> extends Omit<AbstractKeyIteratorOptions<K>, 'signal'>, LevelReadOptions {}
/** Options of {@link KilovoltLevel.values}. */
export interface LevelValueIteratorOptions<K, V>
  extends Omit<AbstractValueIteratorOptions<K, V>, 'signal'>, LevelReadOptions {}

const READ = ['consistency', 'timeoutMs', 'signal', 'r'] as const
const WRITE = ['consistency', 'timeoutMs', 'signal', 'w'] as const
const PUT = [...WRITE, 'ttl'] as const

/** Of all options that Level hands down those that a read of the keyspace knows; `undefined` when there is none. */
export function readOptionsOf(options: object): ReadOptions | undefined {
  return pick(options, READ)
}

/** Of all options that Level hands down those that a write of the keyspace knows; `undefined` when there is none. */
export function writeOptionsOf(options: object): WriteOptions | undefined {
  return pick(options, WRITE)
}

/** As {@link writeOptionsOf}, of a put. */
export function putOptionsOf(options: object): PutOptions | undefined {
  return pick(options, PUT)
}

/** Options of Level's own. */
const OF_LEVEL: ReadonlySet<string> = new Set([
  'keyEncoding',
  'valueEncoding',
  'sublevel',
  'snapshot',
  'keys',
  'values',
  'gt',
  'gte',
  'lt',
  'lte',
  'reverse',
  'limit'
])
const OF_OPERATION: ReadonlySet<string> = new Set(['type', 'key', 'value', ...OF_LEVEL])
const OF_DATABASE: ReadonlySet<string> = new Set(['createIfMissing', 'errorIfExists', 'passive'])
const DATABASE = ['keyspace', 'consistency', 'hashTags', 'keyEncoding', 'valueEncoding'] as const
/** Of any call. */
const OWN: readonly string[] = [...new Set([...READ, ...PUT])]
/** A name of so few letters is meant by no more than one slip. */
const SHORT = 4

/** @throws KilovoltError `KV_CONFIG` */
export function assertDatabaseOptions(options: unknown): void {
  assertOptions(options, 'KilovoltLevel')
  assertMeant(options, 'KilovoltLevel', OF_DATABASE, DATABASE)
  if (!('keyspace' in options) || options.keyspace === undefined) {
    throw new KilovoltError('KV_CONFIG', 'KilovoltLevel needs the name of a "keyspace"')
  }
}

/** Refuses what makes no sense of one operation of a batch. @throws KilovoltError `KV_CONFIG` */
export function assertBatchOperation(operation: object): void {
  // Level gives each the options of the call as well.
  assertMeant(operation, 'an operation', OF_OPERATION, PUT)
}

/**
 * Refuses options of ours where they would be passed over, and what was meant for one. Others there may be: apps hand them to
 * hooks and listeners of Level's, and those of databases on one machine mean nothing here.
 */
function assertMeant(options: object, owner: string, level: ReadonlySet<string>, own: readonly string[]): void {
  for (const option in options) {
    if (own.includes(option) || level.has(option) || options[option as keyof typeof options] === undefined) continue
    const isSlip = own.some(name => slips(option, name) <= (name.length > SHORT ? 2 : Number(name.length > 1)))
    if (isSlip || OWN.includes(option)) throw new KilovoltError('KV_CONFIG', unknownOption(option, owner, own))
  }
}

/** As {@link writeOptionsOf}, of a batch, whose `ttl` each put has already. */
export function batchOptionsOf(options: object): WriteOptions | undefined {
  return pick(options, WRITE, PUT)
}

function pick(
  options: object,
  names: readonly string[],
  known: readonly string[] = names
): Record<string, unknown> | undefined {
  assertMeant(options, 'an operation', OF_LEVEL, known)
  let picked: Record<string, unknown> | undefined
  for (const name of names) {
    const value: unknown = options[name as keyof typeof options]
    if (value !== undefined && value !== null) (picked ??= {})[name] = value
  }
  return picked
}
