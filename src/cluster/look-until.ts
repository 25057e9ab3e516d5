import { throwIfStopped } from '../base/abort.ts'
import type { KilovoltError } from '../base/errors.ts'
import { type Clock, pause } from '../runtime/clock.ts'

/**
 * How often a node looks whether what it waits for has come about, ms. Somebody waits for its start or its leave, and this is
 * little beside the second or two of an election; yet a look, which may ask a peer, is rare enough to cost nothing that
 * counts.
 */
export const LOOK_EVERY_MS = 50

/** For how long to look, and who may end it. */
export interface LookOptions {
  readonly clock: Clock
  /** Aborted when the node stops. */
  readonly stopped: AbortSignal
  /** When to give up, by the monotonic clock, ms. */
  readonly deadlineMs: number
  /** What to fail with then. */
  readonly late: () => KilovoltError
}

/**
 * Resolves once something is so. It is looked at right away, then every {@link LOOK_EVERY_MS}, and a last time at the
 * deadline or when the node stops: what is so by then counts.
 *
 * @throws KilovoltError what `late` returns; `KV_NODE_STOPPED`
 */
export async function lookUntil(isSo: () => boolean, { clock, stopped, deadlineMs, late }: LookOptions): Promise<void> {
  while (!isSo()) {
    throwIfStopped(stopped)
    if (clock.monotonicMs() >= deadlineMs) throw late()
    await pause(clock, LOOK_EVERY_MS, stopped)
  }
}
