import type { StoreId } from '../model/node-id.ts'
import type { MessageHeader, RaftMessage } from './messages.ts'

/** What waits to be sent, by whether it has to wait for the disk (rule R1). */
export class Outbox {
  readonly #self: StoreId
  readonly #waitsForDisk: boolean
  #early: RaftMessage[] = []
  #late: RaftMessage[] = []

  constructor(self: StoreId, waitsForDisk: boolean) {
    this.#self = self
    this.#waitsForDisk = waitsForDisk
  }

  get hasLate(): boolean {
    return this.#late.length > 0
  }

  /** Promises nothing: may leave at once. */
  send(message: RaftMessage): void {
    this.#early.push(message)
  }

  /** Speaks of what is being written: must leave after it. */
  promise(message: RaftMessage): void {
    if (this.#waitsForDisk) this.#late.push(message)
    else this.#early.push(message)
  }

  takeEarly(): RaftMessage[] {
    const messages = this.#early
    this.#early = []
    return messages
  }

  takeLate(): RaftMessage[] {
    const messages = this.#late
    this.#late = []
    return messages
  }

  header(to: StoreId, term: number): MessageHeader {
    return { from: this.#self, to, term }
  }
}
