import type { StoreId } from '../model/node-id.ts'

/** What the failure detector wants done. */
export type DetectorEffect =
  /** Probe the member; answer by `acked` or `missed` with the same number. */
  | PingEffect
  /** Ask the helper to probe the target; answer by `helped` with the same number. */
  | PingRequestEffect
  /** Spread the suspicion of this incarnation. */
  | { readonly kind: 'accuse'; readonly store: StoreId; readonly incarnation: number }
  /** Declare this incarnation dead. */
  | { readonly kind: 'bury'; readonly store: StoreId; readonly incarnation: number }

/** A direct probe. */
export interface PingEffect {
  readonly kind: 'ping'
  readonly to: StoreId
  readonly probe: number
  /** The detector waits no longer than this, but is glad of any later answer. */
  readonly timeoutMs: number
}

/** An indirect probe by one helper. */
export interface PingRequestEffect {
  readonly kind: 'ping-request'
  readonly helper: StoreId
  readonly target: StoreId
  readonly probe: number
  /** How long the helper shall wait for the target; the detector waits twice as long for the helper. */
  readonly timeoutMs: number
}

/** What a helper said. `none`: it did not answer itself. */
export type HelperAnswer = 'ack' | 'nack' | 'none'
