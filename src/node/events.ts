import type { KilovoltError } from '../base/errors.ts'
import type { MemberInfo } from './members.ts'

/** Events of a node; each listener gets a `CustomEvent` whose `detail` is the given type. */
export interface NodeEvents {
  /** A node was heard of for the first time, or is back. */
  'member:joined': CustomEvent<MemberInfo>
  /** A node does not answer; it has some seconds to refute that. */
  'member:suspected': CustomEvent<MemberInfo>
  /** A node is taken for dead. */
  'member:failed': CustomEvent<MemberInfo>
  /** A suspected or dead node proved to be alive. */
  'member:returned': CustomEvent<MemberInfo>
  /** A node has left on purpose. */
  'member:left': CustomEvent<MemberInfo>
  /** A later epoch is in force here: members or owners have changed. */
  'topology:changed': CustomEvent<{ readonly epoch: number }>
  /**
   * This node is in another cluster of the same name: its own has become part of that one, or was founded again as nobody could
   * lead it any more.
   */
  'cluster:changed': CustomEvent<{ readonly from: string; readonly to: string }>
  /** A partition begins to move to another set of owners. */
  'ownership:begin': CustomEvent<{ readonly partition: number; readonly owners: readonly string[] }>
  /** A partition has its new owners. */
  'ownership:end': CustomEvent<{ readonly partition: number; readonly owners: readonly string[] }>
  /**
   * A partition is rebuilt from too few copies, since the others are lost for good: with `left` 0 all of its data is gone,
   * else some acknowledged writes may be.
   */
  'partition:lost': CustomEvent<{ readonly partition: number; readonly left: number }>
  /** A move was given up; the old owners stay. */
  'ownership:abort': CustomEvent<{ readonly partition: number; readonly owners: readonly string[] }>
  /** Somebody was turned away: another cluster's name, another secret, not on the list, not our protocol. */
  'link:refused': CustomEvent<{ readonly peerId: string | undefined; readonly error: KilovoltError }>
  /** This node's database has refused a write; until one succeeds, writes here fail with `KV_READ_ONLY`. */
  'storage:read-only': CustomEvent<{ readonly error: KilovoltError }>
  /** This node's database takes writes again. */
  'storage:writable': CustomEvent<void>
  /** Records came too late to be taken back after a long absence; see `Node.setAside`. */
  'data:set-aside': CustomEvent<{ readonly count: number }>
  /**
   * So many records in this node's database were found to be damaged: they fail their checksum. Each is healed from the
   * other copies as soon as enough of these can be asked; `status().storage.corruptLeft` says how many are not.
   */
  'data:corrupt': CustomEvent<{ readonly count: number }>
  /**
   * The function of an index has thrown, or made what cannot be indexed, of a record: that is stored, but not found by the index.
   * Told of the first record of each index, by the bytes of its key; `status().indexes` counts them all.
   */
  'index:failed': CustomEvent<{
    readonly keyspace: string
    readonly index: string
    readonly key: Uint8Array
    readonly error: unknown
  }>
  /** The node has stopped, for whatever reason. */
  'node:stopped': CustomEvent<void>
}

/** An object that is told of an event. */
export interface NodeEventHandler<E> {
  /** Called with each event. */
  readonly handleEvent: (event: E) => void
}

/** Who is told of an event. */
export type NodeEventListener<E> = ((event: E) => void) | NodeEventHandler<E>

/** How a listener is added, as to any `EventTarget`. */
export interface NodeListenerOptions {
  /** Forgets the listener after its first event. Default false. */
  readonly once?: boolean
  /** Forgets the listener when it is aborted. */
  readonly signal?: AbortSignal
}

/** An `EventTarget` that knows its events. Written without the types of the DOM, so that apps need not have them. */
export interface NodeEventTarget extends EventTarget {
  /** Has a listener told of all events of a type. */
  addEventListener<K extends keyof NodeEvents>(
    type: K,
    listener: NodeEventListener<NodeEvents[K]> | null,
    options?: boolean | NodeListenerOptions
  ): void
  /** How many listeners there are for a type of event. */
  listenerCount(type: string): number
  /** Forgets a listener. */
  removeEventListener<K extends keyof NodeEvents>(
    type: K,
    listener?: NodeEventListener<NodeEvents[K]> | null,
    options?: boolean | { readonly capture?: boolean }
  ): void
}
