import { KilovoltError } from '../base/errors.ts'
import type { Raft } from './raft.ts'
import type { ReadState } from './ready.ts'
import type { Waiting, WaitingRoom } from './waiting.ts'

/** A follower asks its leader again after so long, ms. */
const RETRY_MS = 300

interface Barrier {
  readonly waiting: Set<Waiting<void>>
  /** Term and leader that were asked, and when. */
  asked: { readonly term: number; readonly leader: string | undefined; readonly atMs: number } | undefined
}

/** Readers that wait until everything committed before they came is applied here. Those of one turn wait together. */
export class ReadBarriers {
  readonly #room: WaitingRoom
  #nextId = 1
  /** Readers of this turn. */
  #gathering = new Set<Waiting<void>>()
  /** Those that wait for the leader, by number. */
  readonly #asking = new Map<number, Barrier>()
  /** Those that wait until an index is applied. */
  #applying: { readonly index: number; readonly waiting: Set<Waiting<void>> }[] = []

  constructor(room: WaitingRoom) {
    this.#room = room
  }

  wait(timeoutMs: number): Promise<void> {
    const waiting: Waiting<void> = this.#room.add<void>(timeoutMs, () => {
      this.#gathering.delete(waiting)
      for (const barrier of this.#asking.values()) barrier.waiting.delete(waiting)
      for (const barrier of this.#applying) barrier.waiting.delete(waiting)
      return new KilovoltError('KV_TIMEOUT', `a read was not confirmed within ${timeoutMs} ms`, { retryable: true })
    })
    this.#gathering.add(waiting)
    return waiting.promise
  }

  /** Asks for what has not been asked for, or not of this leader, or in vain. */
  ask(raft: Raft, nowMs: number): void {
    if (this.#gathering.size > 0) {
      this.#asking.set(this.#nextId++, { waiting: this.#gathering, asked: undefined })
      this.#gathering = new Set()
    }
    const { term, leader } = raft
    for (const [id, barrier] of this.#asking) {
      const { asked } = barrier
      if (barrier.waiting.size === 0) {
        this.#asking.delete(id)
        continue
      }
      const isFresh = asked?.term === term && asked.leader === leader
      // A leader remembers what it was asked as long as it leads; a message may be lost.
      if (isFresh && (raft.role === 'leader' || nowMs - asked.atMs < RETRY_MS)) continue
      if (raft.read(id)) barrier.asked = { term, leader, atMs: nowMs }
    }
  }

  /** When {@link ask} should be called again at the latest, ms from now. */
  get retryMs(): number {
    return this.#asking.size > 0 ? RETRY_MS : Number.POSITIVE_INFINITY
  }

  /** A leader has answered. */
  confirmed({ id, index }: ReadState): void {
    const barrier = this.#asking.get(id)
    if (barrier === undefined) return
    this.#asking.delete(id)
    this.#applying.push({ index, waiting: barrier.waiting })
  }

  /** Everything up to the index is applied. */
  applied(index: number): void {
    if (this.#applying.length === 0) return
    const done = this.#applying.filter(barrier => barrier.index <= index)
    this.#applying = this.#applying.filter(barrier => barrier.index > index)
    for (const { waiting } of done) for (const each of waiting) each.settle()
  }

  clear(): void {
    this.#gathering.clear()
    this.#asking.clear()
    this.#applying = []
  }
}
