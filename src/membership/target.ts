import type { StoreId } from '../model/node-id.ts'
import type { RoundTrip } from './round-trip.ts'

/** One attempt to hear from a member; at most one at a time for each. */
export interface Probe {
  /** Number of the latest ping; changes when it is sent again. */
  number: number
  /** `direct`: waits for the member; `indirect`: for the helpers; `pause`: failed fast, will be tried once more. */
  phase: 'direct' | 'indirect' | 'pause'
  readonly startMs: number
  sentMs: number
  /** The ping that goes out again while helpers try. */
  repeat: { readonly number: number; readonly sentMs: number } | undefined
  deadlineMs: number
  /** Helpers that have not answered. */
  readonly waiting: Set<StoreId>
  /** Helpers that failed to answer. */
  silent: number
  /** Whether this is the second look. */
  second: boolean
  /** Whether its deadline was moved to let queued input be read. */
  settled: boolean
}

/** A member's time to refute. */
export interface Suspicion {
  startMs: number
  /** What this node adds to the timeout, as a share of it. */
  readonly extra: number
  accusers: number
  accusedByUs: boolean
  /** Nothing listens any more where it was. */
  hasEnded: boolean
  /** The end is not before this, whatever the timeout. */
  notBeforeMs: number
  settled: boolean
}

/** A member that is probed: alive or suspected. */
export interface Target {
  readonly storeId: StoreId
  incarnation: number
  knownAtMs: number
  readonly roundTrip: RoundTrip
  probe: Probe | undefined
  suspicion: Suspicion | undefined
  /** When this node probes it out of turn. */
  checkAtMs: number | undefined
}

/** A probe that has not been sent yet. */
export function newProbe(nowMs: number): Probe {
  return {
    number: 0,
    phase: 'direct',
    startMs: nowMs,
    sentMs: nowMs,
    repeat: undefined,
    deadlineMs: nowMs,
    waiting: new Set(),
    silent: 0,
    second: false,
    settled: false
  }
}

/** A suspicion that begins now. */
export function newSuspicion(nowMs: number, extra: number): Suspicion {
  return { startMs: nowMs, extra, accusers: 0, accusedByUs: false, hasEnded: false, notBeforeMs: 0, settled: false }
}

/** How many have accused it besides the first. */
export function confirmationsOf({ accusers }: Suspicion): number {
  return Math.max(0, accusers - 1)
}

/** When the ping of that number was sent, if it is one of this probe. */
export function sentMsOf(probe: Probe, number: number): number | undefined {
  if (probe.number === number) return probe.sentMs
  return probe.repeat?.number === number ? probe.repeat.sentMs : undefined
}

/** When the target's probe or check wants attention. */
export function targetDueMs({ probe, checkAtMs }: Target): number {
  return Math.min(probe?.deadlineMs ?? Number.POSITIVE_INFINITY, checkAtMs ?? Number.POSITIVE_INFINITY)
}

/**
 * This process has stood still for `lateMs`: every deadline moves by that. What would expire all the same before
 * `settleMs` waits for that moment, so that queued answers are read first; after a mere delay only once for each probe
 * and suspicion, else a loop that is always late would never find anybody dead.
 */
export function shiftTarget(target: Target, lateMs: number, settleMs: number, stalled: boolean): void {
  const { probe, suspicion } = target
  target.knownAtMs += lateMs
  if (target.checkAtMs !== undefined) target.checkAtMs += lateMs
  if (probe !== undefined) {
    probe.deadlineMs += lateMs
    if (stalled || !probe.settled) probe.deadlineMs = Math.max(probe.deadlineMs, settleMs)
    probe.settled = true
  }
  if (suspicion !== undefined) {
    suspicion.startMs += lateMs
    if (stalled || !suspicion.settled) suspicion.notBeforeMs = Math.max(suspicion.notBeforeMs, settleMs)
    suspicion.settled = true
  }
}
