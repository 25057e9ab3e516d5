import type { StoreId, PeerId, ClusterId } from '../model/node-id.ts'
import type { Liveness, View, ViewMember } from '../model/view.ts'

/** What membership tells. Each is emitted once per change, after `view` shows it. */
export interface MembershipEvents {
  /** A node was heard of for the first time (or again, after it was forgotten), or came back after it had left. */
  'member:joined': ViewMember
  'member:suspected': ViewMember
  /** Declared dead. */
  'member:failed': ViewMember
  /** A suspected or dead member proved to be alive. */
  'member:returned': ViewMember
  /** Left voluntarily. */
  'member:left': ViewMember
  /** Anything in the view changed: epoch, cluster id, addresses included. */
  change: ViewMember
}

/** What a node announces of itself. */
export interface SelfNews {
  readonly clusterId?: ClusterId
  readonly epoch?: number
}

/** Who is there and how each fares: rumours and probes, no decisions. */
export interface Membership {
  readonly view: View
  /** This node as others see it. */
  readonly self: ViewMember
  statusOf(store: StoreId): Liveness | undefined
  /** The store that a linked peer said it is, if any. */
  storeAt(peer: PeerId): StoreId | undefined
  /** Changes what is announced; spreads at once. */
  announce(news: SelfNews): void
  on<K extends keyof MembershipEvents>(type: K, listener: (detail: MembershipEvents[K]) => void): () => void
  start(): void
  /** Says goodbye (`left`) to as many as possible within the time, then stops. */
  leave(timeoutMs: number): Promise<void>
  stop(): void
  /**
   * This node's suspicion of itself: how late its event loop runs, as a multiplier of its time-outs (Lifeguard; 1 is
   * healthy).
   */
  readonly healthMultiplier: number
}
