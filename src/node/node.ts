import type { AbortOptions } from '../base/abort.ts'
import type { Keyspace } from './keyspace.ts'
import type { KeyspaceOptions, SchemaKeyspaceOptions } from './keyspace-options.ts'
import type { MemberInfo } from './members.ts'
import type { NodeEventTarget } from './events.ts'
import type { StopAdvice } from './safe-to-stop.ts'
import type { RingView } from './ring-view.ts'
import type { SchemaInput, SchemaOutput, StandardSchema } from './schema.ts'
import type { NodeStatus } from './status.ts'

/** What one `repair` found and did. */
export interface RepairReport {
  /** Records that one copy had and the other had not, or only in an older version. */
  readonly differences: number
  /** Of those, how many both copies hold since. */
  readonly mended: number
  /** Bytes of requests sent and replies received. */
  readonly bytes: number
  /** Ids of owners that could not be compared with, or not with all they share with this node. */
  readonly missed: readonly string[]
}

/** What `repair` accepts. */
export interface RepairOptions extends AbortOptions {
  /**
   * Whether to read every record that this node owns, check its checksum, and heal what is damaged, before copies are
   * compared. Costs a reading of the whole database. Default false: only what is read anyway is checked.
   */
  readonly verify?: boolean | undefined
}

/** What leaving came to. */
export interface LeaveReport {
  /** Partitions of which this node had a copy that others have taken over. */
  readonly partitions: number
  /** How long it took, ms. */
  readonly durationMs: number
}

/** A record that came too late: its node was away for longer than `gcGraceMs`. */
export interface SetAsideEntry {
  /** Name of its keyspace; the default one is `''`. */
  readonly keyspace: string
  /** Bytes of its key. */
  readonly key: Uint8Array
  /** Bytes of its value, as encoded by its keyspace; `undefined` for one that says "deleted" or has expired. */
  readonly value: Uint8Array | undefined
  readonly version: string
  /** Unix ms at which it expires, or has. Absent for one that does not. */
  readonly expiresAt?: number
}

/** What `leave` and `settled` accept. */
export interface WaitOptions extends AbortOptions {
  /** How long to wait, ms, from 1 to a week. Default 60,000. */
  readonly timeoutMs?: number | undefined
}

/**
 * A running node. It is itself the default keyspace (keys are strings, values JSON), an `EventTarget`, and disposable
 * with `await using`, which stops it.
 *
 * @example
 * ```ts
 * const node = await createNode()
 * await node.put('user:1', { name: 'Ada' })
 * await node.stop()
 * ```
 */
export interface Node extends Keyspace, NodeEventTarget {
  /** Identity of its store, 32 hex digits. */
  readonly id: string
  /** Its libp2p peer id. */
  readonly peerId: string
  /** Name of its cluster. */
  readonly cluster: string
  /** Multiaddrs that others can name in `bootstrap`. */
  readonly addresses: readonly string[]
  /** Who owns what. */
  readonly ring: RingView
  /**
   * A keyspace of this node. Costs nothing, but for indexes: no request is made, and every node sees the same data under the
   * same name. With a schema its types are those of the values.
   *
   * @param name - up to 64 bytes of UTF-8
   * @throws KilovoltError `KV_CONFIG`
   *
   * @example
   * ```ts
   * const users = node.keyspace('users', { schema: z.object({ name: z.string(), age: z.number().default(0) }) })
   * await users.put('ada', { name: 'Ada' })
   * await users.get('ada') // { name: 'Ada', age: 0 }
   * ```
   */
  keyspace<S extends StandardSchema, K = string, I extends string = string>(
    name: string,
    options: SchemaKeyspaceOptions<S, K, I>
  ): Keyspace<SchemaOutput<S>, K, SchemaInput<S>, I>
  /** The same, without a schema. */
  keyspace<V = unknown, K = string, I extends string = string>(
    name: string,
    options?: KeyspaceOptions<V, K, I>
  ): Keyspace<V, K, V, I>
  /** All nodes heard of, and how each is doing, ordered by id. */
  members(): MemberInfo[]
  /** Everything this node knows about itself. */
  status(): NodeStatus
  /**
   * Resolves when no partition moves, each has its copies on nodes that live, and every member holds its part, as far as
   * this node knows. Whoever it knows to be on the way in is waited for, and so is a newcomer until it has taken over its part,
   * its `warmUpMs` included. While a member is away nothing is settled, until it is back or another has taken its place
   * (`evictAfterMs` later at the earliest). So a server should not wait for this before it listens, or only with a `timeoutMs`.
   *
   * @throws KilovoltError `KV_TIMEOUT`, `KV_ABORTED`, `KV_NODE_STOPPED`
   */
  settled(options?: WaitOptions): Promise<void>
  /**
   * Compares this node's copies with those of all other owners and mends what differs, now; otherwise that happens by
   * itself every `repairIntervalMs`.
   *
   * @returns what was found; owners that could not be reached are named in `missed`
   * @throws KilovoltError `KV_ABORTED`, `KV_NODE_STOPPED`
   *
   * @example
   * ```ts
   * const { differences, missed } = await node.repair()
   * ```
   */
  repair(options?: RepairOptions): Promise<RepairReport>
  /**
   * Hands this node's data over to the others, all that was acknowledged with it, says goodbye and stops. When that is not done
   * in time it rejects with `KV_TIMEOUT` and the node goes on serving: call again, or `stop()`; `details.dead` has the dead members,
   * if it is for them, and `details.partitions` how many it has copies of still. The last node of a cluster just stops, unless others are
   * on their way to it.
   */
  leave(options?: WaitOptions): Promise<LeaveReport>
  /**
   * Whether this node may be stopped now, as far as it knows: the others would go on serving all its partitions at `quorum`, and
   * have all that it keeps for them.
   * For readiness probes and rolling restarts, which should wait for it; costs little.
   *
   * @throws KilovoltError `KV_NODE_STOPPED`, at once, when it is stopped or stopping: a probe that may come then has to catch it
   *
   * @example
   * ```ts
   * const { safe, reasons } = node.safeToStop()
   * ```
   */
  safeToStop(): StopAdvice
  /**
   * Records that this node brought back when it had been away for longer than `gcGraceMs`, and of which nobody can tell any
   * more whether they were deleted meanwhile: they were set aside, and are read by nobody else. Look at them, write anew
   * what is to live, then call {@link Node.discardSetAside}.
   *
   * @example
   * ```ts
   * for await (const { keyspace, key, value } of node.setAside()) console.log(keyspace, key, value)
   * ```
   */
  setAside(): AsyncIterable<SetAsideEntry>
  /** Deletes what was set aside. */
  discardSetAside(): Promise<void>
  /** Stops at once; the cluster treats it as a crash. Idempotent; what was under way rejects with `KV_NODE_STOPPED`. */
  stop(): Promise<void>
  /** The same as {@link Node.stop}. */
  [Symbol.asyncDispose](): Promise<void>
}
