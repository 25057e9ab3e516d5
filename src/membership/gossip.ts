import { crc32 } from 'node:zlib'
import { utf8 } from '../base/bytes.ts'
import type { ClusterId, StoreId } from '../model/node-id.ts'
import { type View, type ViewMember, isSameNode, mergeMember } from '../model/view.ts'

/** Most nodes that are remembered, whatever their status. */
export const MEMBERS_MAX = 4096
/** Most accusers that are named in one rumour. */
export const ACCUSERS_MAX = 8
/** Greatest incarnation that is believed; leaves room to refute it. */
export const INCARNATION_MAX: number = 2 ** 52

/** What one node tells another about a third (or about itself). */
export interface Rumour {
  readonly member: ViewMember
  /** For how long it has been dead or left, ms; 0 for others. */
  readonly ageMs: number
  /** Who has probed it in vain, while it is suspected. */
  readonly accusers: readonly StoreId[]
}

/** One difference between the view before and after an input. */
export interface ViewChange {
  /** `undefined`: never heard of before. */
  readonly before: ViewMember | undefined
  /** `undefined`: forgotten. */
  readonly after: ViewMember | undefined
}

/** What an input has led to. */
export interface GossipStep {
  readonly changes: readonly ViewChange[]
  /** Suspected members that were accused once more without a change of the view. */
  readonly accused: readonly ViewMember[]
  /** To be spread at once: only what this node itself is the source of. */
  readonly publish: readonly Rumour[]
}

/** Options of {@link Gossip}. */
export interface GossipOptions {
  /** How long dead and departed members are remembered, ms. Default 10 min. */
  readonly retentionMs?: number
}

const RETENTION_MS = 600_000
/** How long a digest is good for unless the view changes, ms. */
const DIGEST_MS = 1000
const NOTHING: GossipStep = { changes: [], accused: [], publish: [] }

interface Entry {
  member: ViewMember
  /** When it died or left, in this node's monotonic time. */
  goneAtMs: number
  accusers: Set<StoreId>
  hash: number
}

/**
 * What this node holds of everybody, as a machine: rumours in, changes of the view out.
 *
 * Merging is `mergeMember`'s join, so that order and repetition of rumours do not matter. Only its own node raises an
 * incarnation: on hearing itself called suspect, dead or departed, or described otherwise than it is, it takes the
 * rumour's incarnation + 1. An incarnation starts at the wall clock's milliseconds: a node that comes back with its
 * store outbids, without having to write anything down, whatever it said before; should the clock have gone back, the
 * first rumour of its former life makes it refute, which takes one round trip longer and is otherwise the same.
 *
 * Dead and departed members are remembered for ten minutes, so that a stale rumour cannot raise them. Rumours carry
 * their age, so that all nodes forget at about the same time; in its last tenth such a memory is neither passed on nor
 * counted in the digest nor accepted by those who have lost it, else two nodes could remind each other for ever.
 */
export class Gossip {
  readonly #selfId: StoreId
  readonly #retentionMs: number
  readonly #entries = new Map<StoreId, Entry>()
  #snapshot: View | undefined
  #digest: number | undefined
  #digestAtMs = 0

  constructor(self: ViewMember, { retentionMs = RETENTION_MS }: GossipOptions = {}) {
    this.#selfId = self.storeId
    this.#retentionMs = retentionMs
    this.#put(self, 0, [])
  }

  /** This node's own record. */
  get self(): ViewMember {
    return this.#entries.get(this.#selfId)!.member
  }

  /** All nodes heard of, this one included. */
  get view(): View {
    this.#snapshot ??= new Map([...this.#entries].map(([storeId, { member }]) => [storeId, member]))
    return this.#snapshot
  }

  get(store: StoreId): ViewMember | undefined {
    return this.#entries.get(store)?.member
  }

  /** Who is known to accuse the member in its present incarnation. */
  accusersOf(store: StoreId): ReadonlySet<StoreId> {
    return this.#entries.get(store)?.accusers ?? new Set()
  }

  /** Equal on nodes of equal views (with a probability of 1 − 2^-32), whatever their epochs, which heartbeats equalise. */
  digest(nowMs: number): number {
    // Fading changes it too, but that may be noticed a second late.
    if (this.#digest !== undefined && nowMs - this.#digestAtMs < DIGEST_MS) return this.#digest
    let sum = 0
    for (const entry of this.#entries.values()) if (!this.#isFading(entry, nowMs)) sum = (sum + entry.hash) >>> 0
    this.#digest = sum
    this.#digestAtMs = nowMs
    return sum
  }

  /** Everything worth passing on. */
  rumours(nowMs: number): Rumour[] {
    const rumours: Rumour[] = []
    for (const entry of this.#entries.values()) if (!this.#isFading(entry, nowMs)) rumours.push(toRumour(entry, nowMs))
    return rumours
  }

  /** What is known of one member. */
  rumourOf(store: StoreId, nowMs: number): Rumour | undefined {
    const entry = this.#entries.get(store)
    return entry === undefined ? undefined : toRumour(entry, nowMs)
  }

  /** Merges what others say. */
  hear(nowMs: number, rumours: readonly Rumour[]): GossipStep {
    const changes: ViewChange[] = []
    const accused: ViewMember[] = []
    let refuted = false
    for (const rumour of rumours) {
      if (rumour.member.storeId === this.#selfId) {
        const change = this.#hearOfSelf(rumour.member)
        if (change === undefined) continue
        refuted = true
        changes.push(change)
      } else {
        const heard = this.#hearOf(nowMs, rumour)
        if (heard === 'accused') accused.push(this.#entries.get(rumour.member.storeId)!.member)
        else if (heard !== undefined) changes.push(...heard)
      }
    }
    if (changes.length === 0 && accused.length === 0) return NOTHING
    return { changes, accused, publish: refuted ? [this.#selfRumour()] : [] }
  }

  /** This node has probed the member in vain. */
  accuse(nowMs: number, store: StoreId, incarnation: number): GossipStep {
    const entry = this.#entries.get(store)
    if (entry === undefined || entry.member.incarnation !== incarnation) return NOTHING
    if (entry.member.status !== 'alive' && entry.member.status !== 'suspect') return NOTHING
    const accusation: Rumour = {
      member: { ...entry.member, status: 'suspect' },
      ageMs: 0,
      accusers: [this.#selfId]
    }
    return { ...this.hear(nowMs, [accusation]), publish: [accusation] }
  }

  /** The member's time to refute is over. */
  bury(nowMs: number, store: StoreId, incarnation: number): GossipStep {
    const entry = this.#entries.get(store)
    if (entry === undefined || entry.member.incarnation !== incarnation) return NOTHING
    if (entry.member.status !== 'suspect') return NOTHING
    const obituary: Rumour = { member: { ...entry.member, status: 'dead' }, ageMs: 0, accusers: [] }
    return { ...this.hear(nowMs, [obituary]), publish: [obituary] }
  }

  /**
   * Changes this node's own record. A later epoch needs no new incarnation, since merging prefers it; anything else does.
   */
  announce(news: {
    readonly clusterId?: ClusterId
    readonly epoch?: number
    readonly addresses?: readonly string[]
  }): GossipStep {
    const before = this.self
    const clusterId = news.clusterId ?? before.clusterId
    const epoch = news.epoch ?? before.epoch
    const addresses = news.addresses ?? before.addresses
    const moved = addresses.join('\n') !== before.addresses.join('\n')
    if (clusterId === before.clusterId && epoch === before.epoch && !moved) return NOTHING
    const outbid = clusterId !== before.clusterId || epoch < before.epoch || moved
    const incarnation = before.incarnation + (outbid ? 1 : 0)
    return this.#replaceSelf({ ...before, clusterId, epoch, addresses, incarnation })
  }

  /** This node says goodbye. */
  leave(): GossipStep {
    return this.self.status === 'left' ? NOTHING : this.#replaceSelf({ ...this.self, status: 'left' })
  }

  /** Forgets those who have been gone for long enough. */
  expire(nowMs: number): GossipStep {
    const changes: ViewChange[] = []
    for (const [storeId, entry] of this.#entries) {
      if (!isGone(entry.member) || nowMs - entry.goneAtMs < this.#retentionMs || storeId === this.#selfId) continue
      changes.push(this.#forget(storeId, entry))
    }
    return changes.length === 0 ? NOTHING : { ...NOTHING, changes }
  }

  #hearOfSelf(claim: ViewMember): ViewChange | undefined {
    const self = this.self
    if (claim.incarnation < self.incarnation) return undefined
    // An epoch of its own that it has not announced to anybody is one of a former life as well.
    const agrees =
      claim.incarnation === self.incarnation &&
      claim.epoch <= self.epoch &&
      claim.status === self.status &&
      isSameNode(claim, self)
    if (agrees || (self.status === 'left' && claim.incarnation === self.incarnation)) return undefined
    const after = { ...self, incarnation: Math.min(INCARNATION_MAX, claim.incarnation + 1) }
    if (after.incarnation === self.incarnation) return undefined
    this.#put(after, 0, [])
    return { before: self, after }
  }

  #hearOf(nowMs: number, { member, ageMs, accusers }: Rumour): 'accused' | ViewChange[] | undefined {
    const known = this.#entries.get(member.storeId)
    if (known === undefined) return this.#meet(nowMs, member, ageMs, accusers)
    const before = known.member
    const after = mergeMember(before, member)
    if (after === before || same(after, before)) {
      if (!same(member, before)) return undefined
      if (isGone(before)) known.goneAtMs = Math.min(known.goneAtMs, nowMs - ageMs)
      return before.status === 'suspect' && addAll(known.accusers, accusers) ? 'accused' : undefined
    }
    // The same accusation with newer facts keeps its accusers.
    const again = after.status === 'suspect' && before.status === 'suspect' && after.incarnation === before.incarnation
    const goneAtMs = isGone(before) && isGone(after) ? Math.min(known.goneAtMs, nowMs - ageMs) : nowMs - ageMs
    this.#put(after, goneAtMs, again ? [...known.accusers, ...accusers] : accusers)
    return [{ before, after }]
  }

  #meet(nowMs: number, member: ViewMember, ageMs: number, accusers: readonly StoreId[]): ViewChange[] {
    if (isGone(member) && ageMs >= this.#fadesAfterMs) return []
    const changes: ViewChange[] = []
    if (this.#entries.size >= MEMBERS_MAX) {
      const oldest = isGone(member) ? undefined : this.#oldestGone()
      if (oldest === undefined) return []
      changes.push(this.#forget(oldest.member.storeId, oldest))
    }
    this.#put(member, nowMs - ageMs, accusers)
    changes.push({ before: undefined, after: member })
    return changes
  }

  #oldestGone(): Entry | undefined {
    let oldest: Entry | undefined
    for (const entry of this.#entries.values()) {
      if (!isGone(entry.member) || entry.member.storeId === this.#selfId) continue
      if (oldest === undefined || entry.goneAtMs < oldest.goneAtMs) oldest = entry
    }
    return oldest
  }

  #replaceSelf(after: ViewMember): GossipStep {
    const before = this.self
    this.#put(after, 0, [])
    return { changes: [{ before, after }], accused: [], publish: [this.#selfRumour()] }
  }

  #selfRumour(): Rumour {
    return { member: this.self, ageMs: 0, accusers: [] }
  }

  #put(member: ViewMember, goneAtMs: number, accusers: readonly StoreId[]): void {
    const named = new Set<StoreId>()
    if (member.status === 'suspect') addAll(named, accusers)
    this.#entries.set(member.storeId, { member, goneAtMs, accusers: named, hash: hashOf(member) })
    this.#snapshot = undefined
    this.#digest = undefined
  }

  #forget(storeId: StoreId, { member }: Entry): ViewChange {
    this.#entries.delete(storeId)
    this.#snapshot = undefined
    this.#digest = undefined
    return { before: member, after: undefined }
  }

  get #fadesAfterMs(): number {
    return this.#retentionMs * 0.9
  }

  #isFading({ member, goneAtMs }: Entry, nowMs: number): boolean {
    return isGone(member) && member.storeId !== this.#selfId && nowMs - goneAtMs >= this.#fadesAfterMs
  }
}

/** Dead or departed. */
export function isGone({ status }: ViewMember): boolean {
  return status === 'dead' || status === 'left'
}

function toRumour({ member, goneAtMs, accusers }: Entry, nowMs: number): Rumour {
  const ageMs = isGone(member) ? Math.max(0, Math.floor(nowMs - goneAtMs)) : 0
  return { member, ageMs, accusers: [...accusers] }
}

/** True when somebody was added. */
function addAll(accusers: Set<StoreId>, more: readonly StoreId[]): boolean {
  const { size } = accusers
  for (const accuser of more) if (accusers.size < ACCUSERS_MAX) accusers.add(accuser)
  return accusers.size > size
}

function same(a: ViewMember, b: ViewMember): boolean {
  return a.incarnation === b.incarnation && a.epoch === b.epoch && a.status === b.status && isSameNode(a, b)
}

function describe({ status, peerId, clusterId, addresses }: ViewMember): string {
  return [status, peerId, clusterId ?? '', ...addresses].join('\n')
}

function hashOf(member: ViewMember): number {
  return crc32(utf8(`${member.storeId}\n${member.incarnation}\n${describe(member)}`))
}
