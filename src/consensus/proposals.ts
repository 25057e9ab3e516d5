import { KilovoltError } from '../base/errors.ts'
import type { Entry } from './messages.ts'
import type { Waiting, WaitingRoom } from './waiting.ts'

interface Proposal {
  readonly term: number
  readonly waiting: Waiting<number>
}

/** Commands that were appended here and wait to be applied here. */
export class Proposals {
  readonly #room: WaitingRoom
  /** By index; there are several when one of an earlier term of ours was cut off and the place taken again. */
  readonly #byIndex = new Map<number, Proposal[]>()

  constructor(room: WaitingRoom) {
    this.#room = room
  }

  /** Waits for the entry at this place. */
  wait(index: number, term: number, timeoutMs: number): Promise<number> {
    const waiting = this.#room.add<number>(timeoutMs, () => {
      this.#forget(index, proposal)
      return unknownOutcome(`a command was not agreed on within ${timeoutMs} ms`)
    })
    const proposal: Proposal = { term, waiting }
    this.#byIndex.set(index, [...(this.#byIndex.get(index) ?? []), proposal])
    return waiting.promise
  }

  /** What stands there now is what will always stand there: whoever wanted something else knows that it will not be. */
  applied({ index, term }: Entry, overwritten: () => KilovoltError): void {
    const proposals = this.#byIndex.get(index)
    if (proposals === undefined) return
    this.#byIndex.delete(index)
    for (const { term: wanted, waiting } of proposals) {
      if (wanted === term) waiting.settle(index)
      else waiting.fail(overwritten())
    }
  }

  /** A snapshot stands for everything up to the index; what became of the commands there cannot be told. */
  restored(upTo: number): void {
    for (const [index, proposals] of this.#byIndex) {
      if (index > upTo) continue
      this.#byIndex.delete(index)
      for (const { waiting } of proposals) waiting.fail(unknownOutcome('the log was replaced by a snapshot'))
    }
  }

  clear(): void {
    this.#byIndex.clear()
  }

  #forget(index: number, proposal: Proposal): void {
    const others = (this.#byIndex.get(index) ?? []).filter(other => other !== proposal)
    if (others.length > 0) this.#byIndex.set(index, others)
    else this.#byIndex.delete(index)
  }
}

function unknownOutcome(why: string): KilovoltError {
  return new KilovoltError('KV_TIMEOUT', `${why}: whether it will be carried out is unknown`, {
    details: { outcome: 'unknown' }
  })
}
