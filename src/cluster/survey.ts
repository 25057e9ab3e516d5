import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import type { Membership } from '../membership/membership.ts'
import { idToBytes, type PeerId, type StoreId } from '../model/node-id.ts'
import type { Clock } from '../runtime/clock.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
import { readStore } from './wire.ts'

/** What a node says about founding. */
export interface FoundingState {
  /** Whether it is one of those of whom a majority is needed: its own list names it, or a number was said to be expected. */
  readonly counts: boolean
  /** Whether it would found, if it came to that. */
  readonly mayFound: boolean
}

/** What a survey needs. */
export interface SurveyDeps {
  readonly transport: Transport
  readonly membership: Membership
  readonly clock: Clock
  /** This node's own state; `undefined` once it is a member. */
  readonly state: () => FoundingState | undefined
}

interface Answer extends FoundingState {
  readonly atMs: number
}

const ASK_EVERY_MS = 500
/** An answer older than this does not count, ms. */
const FRESH_MS = 1500
const Flag = { COUNTS: 1, MAY_FOUND: 2 } as const

/**
 * Asks linked nodes that are in no cluster how they stand: gossip tells that they are provisional, not whether they would
 * found. Without this a node that never founds, and has the smallest id, would be waited for by all others.
 *
 *     FOUNDING   —                     a provisional node asks, anybody answers
 *     reply      store id 16 · flags u8 (1: counts towards the majority, 2: may found; members: 0)
 */
export class Survey {
  readonly #deps: SurveyDeps
  readonly #answers = new Map<StoreId, Answer>()
  readonly #askedMs = new Map<PeerId, number>()

  constructor(deps: SurveyDeps) {
    this.#deps = deps
  }

  listen(): void {
    const { transport, membership, state } = this.#deps
    transport.handle(MessageType.FOUNDING, (_message, respond) => {
      const own = state()
      const flags = own === undefined ? 0 : (own.counts ? Flag.COUNTS : 0) | (own.mayFound ? Flag.MAY_FOUND : 0)
      respond.reply(new Writer(ID_AND_FLAGS).raw(idToBytes(membership.self.storeId)).u8(flags).finish())
    })
  }

  /** Asks whoever has not been asked lately. */
  ask(): void {
    const { transport, membership, clock } = this.#deps
    const nowMs = clock.monotonicMs()
    const linked = new Set(transport.links())
    for (const peer of this.#askedMs.keys()) if (!linked.has(peer)) this.#askedMs.delete(peer)
    for (const { peerId, storeId, clusterId } of membership.view.values()) {
      if (storeId === membership.self.storeId || clusterId !== undefined || !linked.has(peerId)) continue
      if (nowMs - (this.#askedMs.get(peerId) ?? -Infinity) < ASK_EVERY_MS) continue
      this.#askedMs.set(peerId, nowMs)
      const request = {
        type: MessageType.FOUNDING,
        class: 'control' as const,
        body: new Uint8Array(0),
        timeoutMs: FRESH_MS
      }
      transport.request(peerId, request, outcome => {
        if (outcome.kind === 'reply') this.#answered(outcome.body)
      })
    }
  }

  /** What a node answered lately. */
  stateOf(store: StoreId): FoundingState | undefined {
    const answer = this.#answers.get(store)
    const isFresh = answer !== undefined && this.#deps.clock.monotonicMs() - answer.atMs <= FRESH_MS
    return isFresh ? answer : undefined
  }

  #answered(body: Uint8Array): void {
    try {
      const reader = new Reader(body)
      const store = readStore(reader)
      const flags = reader.u8()
      // Only who is in the view is asked about, so this stays as small as the view is.
      if (!this.#deps.membership.view.has(store)) return
      this.#answers.set(store, {
        atMs: this.#deps.clock.monotonicMs(),
        counts: (flags & Flag.COUNTS) !== 0,
        mayFound: (flags & Flag.MAY_FOUND) !== 0
      })
    } catch {
      // Who answers nonsense counts for nothing.
    }
  }
}

const ID_AND_FLAGS = 17
