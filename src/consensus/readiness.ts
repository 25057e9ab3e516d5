import { assert } from '../base/assert.ts'
import type { StoreId } from '../model/node-id.ts'
import type { HardState } from './messages.ts'
import type { Outbox } from './outbox.ts'
import type { RaftLog } from './raft-log.ts'
import { type ReadState, type Ready, type SoftState, sameSoftState } from './ready.ts'

/** What a machine is just now, apart from its log. */
export interface Present extends SoftState {
  readonly vote: StoreId | undefined
}

/** What a machine has to show to its shell: makes one {@link Ready} after the other, of what has changed since the last. */
export class Readiness {
  readonly #log: RaftLog
  readonly #outbox: Outbox
  /** Most committed entries in one. */
  readonly #applyMax: number
  #reads: ReadState[] = []
  #written: HardState
  #shown: SoftState
  #underWay: Ready | undefined

  constructor(log: RaftLog, outbox: Outbox, applyMax: number, written: HardState, shown: SoftState) {
    this.#log = log
    this.#outbox = outbox
    this.#applyMax = applyMax
    this.#written = written
    this.#shown = shown
  }

  /** A read may go ahead. */
  addRead(read: ReadState): void {
    this.#reads.push(read)
  }

  /** What there is to do; `undefined` when nothing is, or the last one is not done. */
  next({ term, vote, leader, role }: Present): Ready | undefined {
    const softState: SoftState = { term, leader, role }
    const hardState: HardState = { term, vote, commit: this.#log.committed }
    const isPromise = term !== this.#written.term || vote !== this.#written.vote
    const isWritten = !isPromise && hardState.commit === this.#written.commit
    const isShown = sameSoftState(softState, this.#shown)
    if (this.#underWay !== undefined || (isWritten && isShown && !this.#hasMore)) return undefined
    const committed = this.#log.nextCommitted(this.#applyMax)
    const { snapshot, entries } = this.#log.takeUnstable()
    this.#underWay = {
      hardState: isWritten ? undefined : hardState,
      snapshot,
      entries,
      sync: isPromise || snapshot !== undefined || entries.length > 0,
      messages: this.#outbox.takeLate(),
      committed,
      reads: this.#reads,
      softState: isShown ? undefined : softState
    }
    this.#written = hardState
    this.#shown = softState
    this.#reads = []
    return this.#underWay
  }

  /** The last one is done: what it held is written and applied. Returns what was written of the hard state. */
  done(): HardState | undefined {
    const ready = this.#underWay
    assert(ready !== undefined, 'only what is under way ends')
    this.#underWay = undefined
    this.#log.wroteUnstable()
    const applied = ready.committed.at(-1)?.index ?? ready.snapshot?.index
    if (applied !== undefined) this.#log.appliedTo(applied)
    return ready.hardState
  }

  get #hasMore(): boolean {
    return this.#log.hasUnstable || this.#log.hasCommitted || this.#outbox.hasLate || this.#reads.length > 0
  }
}
