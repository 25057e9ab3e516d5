import type { StoreId } from '../model/node-id.ts'
import type { Liveness } from '../model/view.ts'
import { type Random, shuffle } from '../runtime/random.ts'
import { Awareness } from './awareness.ts'
import type { DetectorEffect, HelperAnswer } from './detector-effect.ts'
import { Flaps } from './flaps.ts'
import { ProbeRound } from './probe-round.ts'
import { RoundTrip } from './round-trip.ts'
import type { Probe, Suspicion, Target } from './target.ts'
import { confirmationsOf, newProbe, newSuspicion, sentMsOf, shiftTarget, targetDueMs } from './target.ts'
import { confirmationsNeeded, patience, suspicionMinMs, suspicionTimeoutMs } from './suspicion.ts'

/** Options of {@link FailureDetector}. */
export interface FailureDetectorOptions {
  /** A member is probed this often, ms. Default 500. */
  readonly probeIntervalMs?: number
}

const PROBE_INTERVAL_MS = 500
/** Helpers of an indirect probe (SWIM §3.1). */
const HELPERS = 3
/** How long a member that nobody has linked to yet may take to be linked to before a probe without a link counts, ms. */
const LINK_GRACE_MS = 2000
/** A probe that fails faster than this (the link is gone) is tried once more at this age: the link may be back, ms. */
const SECOND_LOOK_MS = 500
/** A wake-up that is later than this means that this process did not run meanwhile, ms. */
const LATE_MS = 150
/** A wake-up that is later than this means that whatever this process believes is out of date, ms. */
const STALL_MS = 1000
/** Time for queued input to be read after a stall, before anything that has expired meanwhile counts, ms. */
const SETTLE_MS = 1000
/** How many members check a suspicion that they heard of, on average; enough for the confirmations. */
const CHECKERS = 8

/**
 * The failure detector: SWIM (DSN 2002) with Lifeguard (2018), as a machine without clock, network or chance of its own.
 *
 * Every 500 ms one member, in a shuffled round-robin, gets a ping. No answer within the timeout (see `round-trip.ts`):
 * three helpers are asked to ping it, and it gets another ping. If nobody succeeds the member is accused; an accusation
 * that is not refuted in time (see `suspicion.ts`) ends in a death notice. Timeouts and interval are stretched by this
 * node's suspicion of itself (see `awareness.ts`).
 *
 * How this differs from the papers:
 * - A closed link starts a probe at once, since the end of a process closes its connections. Such a probe fails in a
 *   few round trips; it is tried again half a second after its start and only then counts, so a connection that is
 *   merely replaced accuses nobody, and a killed process is accused by everyone within a second.
 * - A suspicion that was heard of makes about eight members probe for themselves, within one interval. It yields the
 *   confirmations that shorten the suspicion, and tells the suspect that it is suspected: a ping carries what its
 *   sender believes of the target.
 * - Time in which this process did not run does not count (see {@link FailureDetector.tick}). The papers let a process
 *   that comes back from a pause accuse whoever did not answer during it.
 * - Members that keep refuting are given more time (see `patience`).
 */
export class FailureDetector {
  readonly #self: StoreId
  readonly #random: Random
  readonly #intervalMs: number
  readonly #awareness = new Awareness()
  readonly #targets = new Map<StoreId, Target>()
  /** Members that the detector knows by links alone, before it has been told of them. */
  readonly #linked = new Set<StoreId>()
  #suspects = 0
  readonly #flaps = new Flaps()
  readonly #round: ProbeRound
  #nextProbeMs: number
  #probes = 0
  #wakeAtMs: number
  #lateMs = 0
  #effects: DetectorEffect[] = []

  constructor(
    self: StoreId,
    nowMs: number,
    random: Random,
    { probeIntervalMs = PROBE_INTERVAL_MS }: FailureDetectorOptions = {}
  ) {
    this.#self = self
    this.#random = random
    this.#round = new ProbeRound(random)
    this.#intervalMs = probeIntervalMs
    this.#nextProbeMs = nowMs + random.int(probeIntervalMs)
    this.#wakeAtMs = this.#nextProbeMs
  }

  /** 1 … 8: how much this node distrusts itself. */
  get healthMultiplier(): number {
    return this.#awareness.multiplier
  }

  /** When `tick` is to be called next, at the latest. */
  get wakeAtMs(): number {
    return this.#wakeAtMs
  }

  /**
   * The member is (now) as given; its accusers are those of this incarnation.
   *
   * @param hasEnded - whether its machine answers and nothing listens any more where it was
   */
  learn(
    nowMs: number,
    member: { readonly storeId: StoreId; readonly incarnation: number; readonly status: Liveness },
    accusers: ReadonlySet<StoreId>,
    hasEnded = false
  ): readonly DetectorEffect[] {
    this.#settle(nowMs)
    const { storeId, incarnation, status } = member
    if (storeId === this.#self) return this.#done(nowMs)
    if (status === 'dead' || status === 'left') {
      this.#remove(storeId)
      return this.#done(nowMs)
    }
    const target = this.#targets.get(storeId) ?? this.#add(nowMs, storeId, incarnation)
    if (incarnation !== target.incarnation || status === 'alive') {
      if (target.suspicion !== undefined) {
        this.#setSuspicion(target, undefined)
        this.#flaps.note(nowMs, storeId)
      }
      // It has spoken up since the probe was sent.
      if (incarnation !== target.incarnation) target.probe = undefined
      target.incarnation = incarnation
    }
    if (status === 'suspect') this.#suspect(nowMs, target, accusers, hasEnded)
    return this.#done(nowMs)
  }

  /** The member is not known any more. */
  forget(nowMs: number, store: StoreId): readonly DetectorEffect[] {
    this.#settle(nowMs)
    this.#remove(store)
    this.#flaps.forget(store)
    return this.#done(nowMs)
  }

  /** There is a link to the member. */
  linked(nowMs: number, store: StoreId): readonly DetectorEffect[] {
    this.#settle(nowMs)
    this.#linked.add(store)
    return this.#done(nowMs)
  }

  /** The link to the member is gone: its process may be. */
  unlinked(nowMs: number, store: StoreId): readonly DetectorEffect[] {
    this.#settle(nowMs)
    this.#linked.delete(store)
    const target = this.#targets.get(store)
    if (target !== undefined) this.#probe(nowMs, target)
    return this.#done(nowMs)
  }

  /** The member itself has answered a ping, however late. */
  acked(nowMs: number, store: StoreId, probe: number): readonly DetectorEffect[] {
    this.#settle(nowMs)
    const target = this.#targets.get(store)
    if (target === undefined) return this.#done(nowMs)
    const sentMs = target.probe && sentMsOf(target.probe, probe)
    if (sentMs !== undefined) {
      target.roundTrip.sample(Math.max(0, nowMs - sentMs))
      this.#awareness.answered()
    }
    target.probe = undefined
    return this.#done(nowMs)
  }

  /** The ping could not be sent, was lost with its link, or somebody else answered: no need to wait for it. */
  missed(nowMs: number, store: StoreId, probe: number): readonly DetectorEffect[] {
    this.#settle(nowMs)
    const target = this.#targets.get(store)
    if (target?.probe?.number === probe && target.probe.phase === 'direct') this.#directFailed(nowMs, target)
    return this.#done(nowMs)
  }

  /** A helper has reported. */
  helped(
    nowMs: number,
    store: StoreId,
    probe: number,
    helper: StoreId,
    answer: HelperAnswer
  ): readonly DetectorEffect[] {
    this.#settle(nowMs)
    const target = this.#targets.get(store)
    if (target?.probe?.number !== probe || target.probe.phase !== 'indirect') return this.#done(nowMs)
    if (!target.probe.waiting.delete(helper)) return this.#done(nowMs)
    if (answer === 'ack') target.probe = undefined
    else {
      if (answer === 'none') target.probe.silent++
      if (target.probe.waiting.size === 0) this.#failed(nowMs, target)
    }
    return this.#done(nowMs)
  }

  /**
   * Time has passed. To be called at {@link wakeAtMs}, if possible; by how much it is later than that is time in which
   * this process stood still, which is taken off everybody's time to answer. After a pause of a second or more nothing
   * that was believed before it counts: open probes and suspicions are checked by a ping of their own, and there is a
   * second to read what has been queued meanwhile (answers, refutations) before anybody is accused.
   *
   * @param lagMs - the longest delay of the event loop since the last call
   */
  tick(nowMs: number, lagMs: number): readonly DetectorEffect[] {
    this.#settle(nowMs)
    this.#awareness.lagged(Math.max(this.#lateMs, lagMs))
    this.#lateMs = 0
    for (const target of this.#targets.values()) this.#expire(nowMs, target)
    if (nowMs >= this.#nextProbeMs) {
      this.#nextProbeMs = nowMs + this.#intervalMs * this.#awareness.multiplier
      this.#probeNext(nowMs)
    }
    return this.#done(nowMs)
  }

  /** Comes before any input: sees whether this process has stood still, and if so moves all deadlines. */
  #settle(nowMs: number): void {
    const lateMs = nowMs - this.#wakeAtMs
    if (lateMs < LATE_MS) return
    this.#lateMs = Math.max(this.#lateMs, lateMs)
    this.#wakeAtMs = nowMs
    this.#nextProbeMs = nowMs
    const stalled = lateMs >= STALL_MS
    for (const target of this.#targets.values()) {
      shiftTarget(target, lateMs, nowMs + Math.min(SETTLE_MS, lateMs), stalled)
      if (!stalled) continue
      if (target.suspicion !== undefined) target.checkAtMs = nowMs
      if (target.probe !== undefined) {
        target.probe = undefined
        this.#probe(nowMs, target, SETTLE_MS)
      }
    }
  }

  #add(nowMs: number, storeId: StoreId, incarnation: number): Target {
    const target: Target = {
      storeId,
      incarnation,
      knownAtMs: nowMs,
      roundTrip: new RoundTrip(),
      probe: undefined,
      suspicion: undefined,
      checkAtMs: undefined
    }
    this.#targets.set(storeId, target)
    this.#round.add(storeId)
    return target
  }

  #suspect(nowMs: number, target: Target, accusers: ReadonlySet<StoreId>, hasEnded: boolean): void {
    const isNew = target.suspicion === undefined
    // Up to a tenth longer on each node, so that not all of them bury at the same moment.
    if (isNew) this.#setSuspicion(target, newSuspicion(nowMs, this.#random.int(101) / 1000))
    const suspicion = target.suspicion!
    suspicion.accusers = accusers.size
    suspicion.accusedByUs = accusers.has(this.#self)
    suspicion.hasEnded ||= hasEnded
    const members = this.#targets.size + 1
    if (isNew && !suspicion.accusedByUs && this.#random.chance(Math.min(CHECKERS, members), members)) {
      target.checkAtMs = nowMs + this.#random.int(this.#intervalMs)
    }
  }

  #probeNext(nowMs: number): void {
    for (let tries = this.#targets.size; tries > 0; tries--) {
      const store = this.#round.next(() => this.#targets.keys())
      const target = store === undefined ? undefined : this.#targets.get(store)
      if (target !== undefined && this.#isProbeable(nowMs, target) && this.#probe(nowMs, target)) return
    }
  }

  /** Whether a failed probe would mean something. */
  #isProbeable(nowMs: number, { storeId, knownAtMs }: Target): boolean {
    return this.#linked.has(storeId) || nowMs - knownAtMs >= LINK_GRACE_MS
  }

  #probe(nowMs: number, target: Target, extraMs = 0): boolean {
    if (target.probe !== undefined) return false
    const probe = newProbe(nowMs)
    target.probe = probe
    this.#ping(nowMs, target, probe)
    probe.deadlineMs += extraMs
    return true
  }

  #ping(nowMs: number, target: Target, probe: Probe): void {
    const timeoutMs = target.roundTrip.timeoutMs * this.#awareness.multiplier
    probe.number = ++this.#probes
    probe.phase = 'direct'
    probe.sentMs = nowMs
    probe.deadlineMs = nowMs + timeoutMs
    probe.waiting.clear()
    probe.silent = 0
    this.#effects.push({ kind: 'ping', to: target.storeId, probe: probe.number, timeoutMs })
  }

  #directFailed(nowMs: number, target: Target): void {
    const probe = target.probe!
    const helpers = probe.second ? [] : this.#helpers(target)
    if (helpers.length === 0) {
      // Nobody else to ask: the fault may as well be ours.
      if (!probe.second && nowMs >= probe.deadlineMs && target.suspicion === undefined) this.#awareness.missed()
      this.#failed(nowMs, target)
      return
    }
    const timeoutMs = target.roundTrip.timeoutMs * this.#awareness.multiplier
    probe.phase = 'indirect'
    probe.deadlineMs = nowMs + 2 * timeoutMs
    for (const helper of helpers) {
      probe.waiting.add(helper)
      this.#effects.push({ kind: 'ping-request', helper, target: target.storeId, probe: probe.number, timeoutMs })
    }
    // With one message in a hundred lost, four ways fail together once in forty million probes, and three in a million.
    probe.repeat = { number: ++this.#probes, sentMs: nowMs }
    this.#effects.push({ kind: 'ping', to: target.storeId, probe: probe.repeat.number, timeoutMs })
  }

  #helpers(target: Target): StoreId[] {
    const able = [...this.#targets.values()].filter(
      other => other !== target && other.suspicion === undefined && this.#linked.has(other.storeId)
    )
    return shuffle(this.#random, able)
      .slice(0, HELPERS)
      .map(({ storeId }) => storeId)
  }

  #failed(nowMs: number, target: Target): void {
    const probe = target.probe!
    // A helper says so when its own ping fails; its silence is about it or about us, not about the target.
    if (probe.silent + probe.waiting.size > 0) this.#awareness.missed()
    if (!probe.second && nowMs - probe.startMs < SECOND_LOOK_MS) {
      probe.phase = 'pause'
      probe.deadlineMs = probe.startMs + SECOND_LOOK_MS
      return
    }
    target.probe = undefined
    const { suspicion } = target
    if (suspicion === undefined || (!suspicion.accusedByUs && confirmationsOf(suspicion) < this.#needed(target))) {
      this.#effects.push({ kind: 'accuse', store: target.storeId, incarnation: target.incarnation })
    }
  }

  #expire(nowMs: number, target: Target): void {
    if (target.checkAtMs !== undefined && nowMs >= target.checkAtMs) {
      target.checkAtMs = undefined
      if (this.#isProbeable(nowMs, target)) this.#probe(nowMs, target)
    }
    const { probe } = target
    if (probe !== undefined && nowMs >= probe.deadlineMs) {
      if (probe.phase === 'direct') this.#directFailed(nowMs, target)
      else if (probe.phase === 'indirect') this.#failed(nowMs, target)
      else {
        probe.second = true
        this.#ping(nowMs, target, probe)
      }
    }
    const { suspicion } = target
    if (suspicion !== undefined && nowMs >= this.#buryAtMs(nowMs, target, suspicion)) {
      // Asked again in a second if the notice had no effect.
      suspicion.notBeforeMs = nowMs + SETTLE_MS
      this.#effects.push({ kind: 'bury', store: target.storeId, incarnation: target.incarnation })
    }
  }

  #buryAtMs(nowMs: number, target: Target, suspicion: Suspicion): number {
    const minMs = suspicionMinMs(this.#targets.size + 1, this.#intervalMs, suspicion.hasEnded)
    const timeoutMs = suspicionTimeoutMs(minMs, confirmationsOf(suspicion), this.#needed(target))
    const factor = patience(this.#flaps.of(nowMs, target.storeId)) + suspicion.extra
    return Math.max(suspicion.notBeforeMs, suspicion.startMs + Math.round(timeoutMs * factor))
  }

  #needed(target: Target): number {
    return confirmationsNeeded(this.#targets.size - this.#suspects - (target.suspicion === undefined ? 1 : 0))
  }

  #setSuspicion(target: Target, suspicion: Suspicion | undefined): void {
    this.#suspects += (suspicion === undefined ? 0 : 1) - (target.suspicion === undefined ? 0 : 1)
    target.suspicion = suspicion
  }

  #remove(store: StoreId): void {
    const target = this.#targets.get(store)
    if (target === undefined) return
    this.#setSuspicion(target, undefined)
    this.#targets.delete(store)
  }

  #done(nowMs: number): readonly DetectorEffect[] {
    let wakeAtMs = this.#nextProbeMs
    for (const target of this.#targets.values()) {
      wakeAtMs = Math.min(wakeAtMs, targetDueMs(target))
      const { suspicion } = target
      if (suspicion !== undefined) wakeAtMs = Math.min(wakeAtMs, this.#buryAtMs(nowMs, target, suspicion))
    }
    // A confirmation may end a suspicion in the past; that is no delay of ours.
    this.#wakeAtMs = Math.max(nowMs, wakeAtMs)
    const effects = this.#effects
    this.#effects = []
    return effects
  }
}
