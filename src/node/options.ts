import { KilovoltError } from '../base/errors.ts'
import { assertOptions, nearest, show } from '../base/options.ts'
import { isPartitionCount, PARTITIONS_DEFAULT, PARTITIONS_MAX, PARTITIONS_MIN } from '../model/partition.ts'
import type { Logger } from '../runtime/logger.ts'
import type { LevelDatabase } from '../storage/level-store.ts'

/** Everything a node can be told. All of it has a default: `createNode()` alone makes a cluster of one, in memory. */
export interface NodeOptions {
  /** Name of the cluster; nodes of different names never mix. Up to 64 bytes. @defaultValue `'kilovolt'` */
  readonly cluster?: string | undefined
  /** Multiaddrs to listen on. @defaultValue `['/ip4/127.0.0.1/tcp/0']`: loopback, a free port */
  readonly listen?: readonly string[] | undefined
  /** Multiaddrs to tell others instead of those listened on, for a node behind a NAT or in a container. @defaultValue none */
  readonly announce?: readonly string[] | undefined
  /**
   * Multiaddrs of nodes to join through, or a function that returns them (asked again from time to time). Any one
   * reachable entry is enough. Without it the node founds a cluster at once. A list that names this node itself may
   * found one together with the others on it. @defaultValue `[]`
   */
  readonly bootstrap?: readonly string[] | (() => readonly string[] | Promise<readonly string[]>) | undefined
  /** Finds nodes on the local network by multicast DNS. @defaultValue `false` */
  readonly mdns?: boolean | undefined
  /** How many nodes are expected at founding: the cluster is founded once a majority of them has been seen. @defaultValue none */
  readonly expect?: number | undefined
  /** Whether this node may found a cluster at all; with `false` it only ever joins. @defaultValue `true` */
  readonly found?: boolean | undefined
  /**
   * Database to keep the data in: any abstract-level implementation, e.g. `new ClassicLevel('./data')`. The node opens
   * and closes it. @defaultValue a B+ tree in memory
   */
  readonly storage?: LevelDatabase | undefined
  /**
   * What a write must survive before it is acknowledged, on a disk database: `'os'` the end of the process, `'fsync'`
   * the end of the machine too, which a database in memory is refused for. @defaultValue `'os'`
   */
  readonly durability?: 'os' | 'fsync' | undefined
  /**
   * Most bytes of memory for records of a disk database that were used last, which are then read without asking it; keys
   * and what keeping them takes are counted. 0: none. 0 … 1,099,511,627,776.
   * @defaultValue `33_554_432`: 32 MiB; none for a database in memory, where a copy would be no faster
   */
  readonly cacheBytes?: number | undefined
  /** Copies of each value, N; fixed by the node that founds the cluster. 1 … 7. @defaultValue `3` */
  readonly replicas?: number | undefined
  /** Number of partitions, a power of two from 64 to 4,096; the same on all nodes, for the cluster's life. @defaultValue `256` */
  readonly partitions?: number | undefined
  /** Share of the data this node takes, relative to others. 0: it serves requests but keeps nothing. 0 … 1,000. @defaultValue `1` */
  readonly weight?: number | undefined
  /** Failure zone: copies of a value are spread over zones. Up to 64 bytes. @defaultValue `''` */
  readonly zone?: string | undefined
  /** Region, as a label for people and later use. Up to 64 bytes. @defaultValue `''` */
  readonly region?: string | undefined
  /** Key of the private network: nodes with another one, or none, cannot connect. @defaultValue none */
  readonly secret?: string | undefined
  /** Peer ids that may connect; others are turned away. @defaultValue anybody who has the secret and the cluster's name */
  readonly allow?: readonly string[] | undefined
  /** Deadline of each operation, ms, unless the call names its own. 1 … 600,000. @defaultValue `5_000` */
  readonly requestTimeoutMs?: number | undefined
  /** How long `createNode` tries to join before it fails, ms. 100 … 600,000. @defaultValue `15_000` */
  readonly joinTimeoutMs?: number | undefined
  /**
   * How long a dead member keeps its place before its copies are rebuilt elsewhere, ms.
   * @defaultValue 15 s for members in memory, 5 min for members on disk
   */
  readonly evictAfterMs?: number | undefined
  /** How long a new member of a grown cluster waits before it takes over data, ms. @defaultValue `10_000`; none while a cluster forms */
  readonly warmUpMs?: number | undefined
  /** How far ahead of this node's clock a write may be stamped, ms. 100 … 3,600,000. @defaultValue `10_000` */
  readonly maxClockDriftMs?: number | undefined
  /**
   * Time between two rounds of comparing this node's copies with those of other owners, ms, varied by a tenth. There is a
   * round as well whenever a node returns or owners change. 1,000 … 86,400,000, or `Infinity`: only when `repair` is
   * called. @defaultValue `600_000`
   */
  readonly repairIntervalMs?: number | undefined
  /**
   * Time between two rounds of purging what was deleted or has expired, ms, varied by a tenth. 1,000 … 86,400,000, or
   * `Infinity`: never. @defaultValue `600_000`
   */
  readonly purgeIntervalMs?: number | undefined
  /**
   * How long a dead member on disk, whose copies have been rebuilt elsewhere, is remembered, ms. If it returns by then its
   * data is merged; nothing is purged until then. Later it comes as a stranger, and what nobody can place any more of its
   * data is set aside. 1,000 … 31,536,000,000. @defaultValue `86_400_000`: a day
   */
  readonly gcGraceMs?: number | undefined
  /** Where to log. @defaultValue warnings and errors to stderr; more with `DEBUG=kilovolt:*` */
  readonly logger?: Logger | undefined
  /** Gives up starting; nothing is left behind. @defaultValue none */
  readonly signal?: AbortSignal | undefined
}

/** Options with every default filled in. */
export interface ResolvedOptions {
  readonly cluster: string
  readonly listen: readonly string[]
  readonly announce: readonly string[]
  readonly bootstrap: readonly string[] | (() => readonly string[] | Promise<readonly string[]>)
  readonly mdns: boolean
  readonly expect: number | undefined
  readonly found: boolean
  readonly storage: LevelDatabase | undefined
  readonly durability: 'os' | 'fsync'
  readonly cacheBytes: number | undefined
  readonly replicas: number
  readonly partitions: number
  readonly weight: number
  readonly zone: string
  readonly region: string
  readonly secret: string | undefined
  readonly allow: readonly string[] | undefined
  readonly requestTimeoutMs: number
  readonly joinTimeoutMs: number
  readonly evictAfterMs: number | undefined
  readonly warmUpMs: number
  readonly maxClockDriftMs: number
  readonly repairIntervalMs: number
  readonly purgeIntervalMs: number
  readonly purgeLagMs: number
  readonly gcGraceMs: number
  readonly logger: Logger | undefined
  readonly signal: AbortSignal | undefined
}

/** Says what is wrong with a value, or nothing. */
type Check = (value: unknown) => string | undefined

const NAME_BYTES_MAX = 64
/** How far in the past a round of purging settles, ms: many times the drift of clocks and the deadline of an operation. */
const PURGE_LAG_MS = 30_000

const CHECKS: { readonly [K in keyof NodeOptions]-?: Check } = {
  cluster: name(1),
  listen: listOf(tcpAddress),
  announce: listOf(multiaddr),
  bootstrap: value => (typeof value === 'function' ? undefined : listOf(multiaddr)(value)),
  mdns: bool,
  expect: whole(1, 10_000),
  found: bool,
  storage: value => (isLevel(value) ? undefined : 'must be an abstract-level database (version 3 or later)'),
  durability: value => (value === 'os' || value === 'fsync' ? undefined : "must be 'os' or 'fsync'"),
  cacheBytes: whole(0, 2 ** 40),
  replicas: whole(1, 7),
  partitions: value =>
    typeof value === 'number' && isPartitionCount(value)
      ? undefined
      : `must be a power of two from ${PARTITIONS_MIN} to ${PARTITIONS_MAX}`,
  weight: value =>
    typeof value === 'number' && value >= 0 && value <= 1000 ? undefined : 'must be a number from 0 to 1000',
  zone: name(0),
  region: name(0),
  secret: value =>
    typeof value === 'string' && value.length >= 8 ? undefined : 'must be a string of 8 characters or more',
  allow: listOf(peerId),
  requestTimeoutMs: whole(1, 600_000),
  joinTimeoutMs: whole(100, 600_000),
  evictAfterMs: whole(1000, 7 * 24 * 3_600_000),
  warmUpMs: whole(0, 3_600_000),
  maxClockDriftMs: whole(100, 3_600_000),
  repairIntervalMs: orNever(whole(1000, 86_400_000)),
  purgeIntervalMs: orNever(whole(1000, 86_400_000)),
  gcGraceMs: whole(1000, 31_536_000_000),
  logger: value => (isLogger(value) ? undefined : 'must have the methods debug, info, warn and error'),
  signal: value => (value instanceof AbortSignal ? undefined : 'must be an AbortSignal')
}

/**
 * Checks all options in one pass and fills in the defaults.
 *
 * @throws KilovoltError `KV_CONFIG`, which names every wrong option, not just the first
 */
export function resolveOptions(options: NodeOptions = {}): ResolvedOptions {
  assertOptions(options, 'createNode')
  const problems = findProblems(options)
  if (problems.length > 0) {
    throw new KilovoltError('KV_CONFIG', `createNode was given bad options: ${problems.join('; ')}`, {
      details: { problems }
    })
  }
  return {
    cluster: options.cluster ?? 'kilovolt',
    listen: options.listen ?? ['/ip4/127.0.0.1/tcp/0'],
    announce: options.announce ?? [],
    bootstrap: options.bootstrap ?? [],
    mdns: options.mdns ?? false,
    expect: options.expect,
    found: options.found ?? true,
    storage: options.storage,
    durability: options.durability ?? 'os',
    cacheBytes: options.cacheBytes,
    replicas: options.replicas ?? 3,
    partitions: options.partitions ?? PARTITIONS_DEFAULT,
    weight: options.weight ?? 1,
    zone: options.zone ?? '',
    region: options.region ?? '',
    secret: options.secret,
    allow: options.allow,
    requestTimeoutMs: options.requestTimeoutMs ?? 5000,
    joinTimeoutMs: options.joinTimeoutMs ?? 15_000,
    evictAfterMs: options.evictAfterMs,
    warmUpMs: options.warmUpMs ?? 10_000,
    maxClockDriftMs: options.maxClockDriftMs ?? 10_000,
    repairIntervalMs: options.repairIntervalMs ?? 600_000,
    purgeIntervalMs: options.purgeIntervalMs ?? 600_000,
    purgeLagMs: PURGE_LAG_MS,
    gcGraceMs: options.gcGraceMs ?? 86_400_000,
    logger: options.logger,
    signal: options.signal
  }
}

function findProblems(options: NodeOptions): string[] {
  const problems: string[] = []
  for (const [key, value] of Object.entries(options)) {
    if (!Object.hasOwn(CHECKS, key)) {
      const near = nearest(key, Object.keys(CHECKS))
      problems.push(`"${key}" is not an option${near === undefined ? '' : `, did you mean "${near}"?`}`)
      continue
    }
    if (value === undefined) continue
    const problem = CHECKS[key as keyof NodeOptions](value)
    if (problem === undefined) continue
    // A secret that is wrong is still somebody's secret; of a list the wrong entry was named.
    const given = key === 'secret' ? `, ${shapeOf(value)}` : problem.startsWith(ENTRY) ? '' : `, not ${show(value)}`
    problems.push(`"${key}" ${problem}${given}`)
  }
  if (options.found === false && emptyList(options.bootstrap) && options.mdns !== true) {
    problems.push('"found" is false, so "bootstrap" or "mdns" must say whom to join')
  }
  if (options.durability === 'fsync' && !isPermanent(options.storage)) {
    problems.push(`"durability" is 'fsync', so "storage" must be a database on disk`)
  }
  return problems
}

function shapeOf(secret: unknown): string {
  return typeof secret === 'string' ? `this one has ${secret.length}` : `not a value of type ${typeof secret}`
}

function emptyList(bootstrap: NodeOptions['bootstrap']): boolean {
  return bootstrap === undefined || (Array.isArray(bootstrap) && bootstrap.length === 0)
}

function bool(value: unknown): string | undefined {
  return typeof value === 'boolean' ? undefined : 'must be true or false'
}

function whole(min: number, max: number): Check {
  return value =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
      ? undefined
      : `must be a whole number from ${min} to ${max}`
}

function orNever(check: Check): Check {
  return value => (value === Infinity ? undefined : check(value))
}

function name(bytesMin: number): Check {
  return value =>
    typeof value === 'string' && Buffer.byteLength(value) >= bytesMin && Buffer.byteLength(value) <= NAME_BYTES_MAX
      ? undefined
      : `must be a string of ${bytesMin} to ${NAME_BYTES_MAX} bytes`
}

/** How the complaint about an entry of a list begins, which names it. */
const ENTRY = 'has the entry'

function listOf(check: Check): Check {
  return value => {
    if (!Array.isArray(value)) return 'must be a list'
    for (const item of value) {
      const problem = check(item)
      if (problem !== undefined) return `${ENTRY} ${show(item)}, which ${problem}`
    }
    return undefined
  }
}

/** Only the outline is checked here; the transport, which knows multiaddrs, checks the rest. */
function multiaddr(value: unknown): string | undefined {
  return typeof value === 'string' && /^\/(?:ip4|ip6|dns|dns4|dns6|dnsaddr|memory)\/[^/]+/u.test(value)
    ? undefined
    : 'must be a multiaddr such as /ip4/10.0.0.1/tcp/7400'
}

/** What the one transport there is can listen on. */
function tcpAddress(value: unknown): string | undefined {
  const isTcp =
    typeof value === 'string' && /^\/(?:ip4|ip6|dns|dns4|dns6)\/[^/]+\/tcp\/[^/]+(?:\/p2p\/[^/]+)?$/u.test(value)
  return isTcp ? undefined : 'must be a multiaddr of TCP such as /ip4/0.0.0.0/tcp/7400'
}

/** Only the outline here, too: Base58 as peer ids are written, or the Base32 and Base36 of their CIDs. */
function peerId(value: unknown): string | undefined {
  return typeof value === 'string' &&
    /^(?:(?:12D3Koo|16Uiu2|Qm)[1-9A-HJ-NP-Za-km-z]{30,}|[bk][0-9a-z]{50,})$/u.test(value)
    ? undefined
    : 'must be a peer id such as node.peerId, 12D3KooW…'
}

function isLevel(value: unknown): value is LevelDatabase {
  return (
    typeof value === 'object' &&
    value !== null &&
    'supports' in value &&
    'getMany' in value &&
    'batch' in value &&
    'iterator' in value &&
    'status' in value
  )
}

/** A wrong one has been complained about already. */
function isPermanent(storage: LevelDatabase | undefined): boolean {
  if (!isLevel(storage)) return storage !== undefined
  const { permanence } = storage.supports as { readonly permanence?: boolean }
  return permanence === true
}

function isLogger(value: unknown): value is Logger {
  if (typeof value !== 'object' || value === null) return false
  return ['debug', 'info', 'warn', 'error'].every(
    method => typeof (value as Record<string, unknown>)[method] === 'function'
  )
}
