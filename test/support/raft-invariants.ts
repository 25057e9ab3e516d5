import { isJoint } from '../../src/consensus/configuration.ts'
import { fromUtf8 } from '../../src/base/bytes.ts'
import type { Entry, RaftMessage } from '../../src/consensus/messages.ts'
import type { LogState, ReadableLog } from '../../src/consensus/raft-log.ts'
import type { Raft } from '../../src/consensus/raft.ts'
import type { StoreId } from '../../src/model/node-id.ts'

/** What is looked at of a node. */
export interface Observed {
  readonly id: StoreId
  /** Undefined while it is down. */
  readonly raft: Raft | undefined
  readonly disk: { readonly state: LogState }
}

/** Something that must never be was seen. */
export class Breach extends Error {}

/** What must hold in every group at every moment, whatever the network and the disks do. Throws a {@link Breach}. */
export class RaftInvariants {
  /** Greatest index that anybody knows to be committed. */
  commit = 0
  readonly #leaders = new Map<number, StoreId>()
  readonly #votes = new Map<string, StoreId>()
  /** What stands at an index in a term, and the term before it: equal for all logs that have it (log matching). */
  readonly #entries = new Map<string, string>()
  readonly #committed = new Map<number, string>()
  readonly #digests = new Map<number, string>()
  /** How far each log was looked at, by its last entry. */
  readonly #seen = new Map<StoreId, { lastIndex: number; lastTerm: number; committed: number; firstIndex: number }>()

  /** Looks at a node after a step. */
  look({ id, raft }: Observed): void {
    if (raft === undefined) return
    const { log, term } = raft
    if (raft.role === 'leader') {
      const known = this.#leaders.get(term)
      if (known !== undefined && known !== id) throw breach('one leader per term', `term ${term}: ${known}, ${id}`)
      if (known === undefined) {
        this.#leaders.set(term, id)
        this.#checkCompleteness(id, log)
      }
      this.#checkConfigurations(id, log)
    }
    const seen = this.#seen.get(id)
    const { lastIndex, lastTerm, committed, firstIndex } = log
    if (
      seen?.lastIndex === lastIndex &&
      seen.lastTerm === lastTerm &&
      seen.committed === committed &&
      seen.firstIndex === firstIndex
    ) {
      return
    }
    this.#seen.set(id, { lastIndex, lastTerm, committed, firstIndex })
    for (const entry of log.entriesFrom(Math.max(firstIndex, 1), Number.POSITIVE_INFINITY))
      this.#checkEntry(id, log, entry)
    this.commit = Math.max(this.commit, committed)
  }

  /** Looks at a message as it leaves. */
  sent(message: RaftMessage, from: Observed): void {
    const { hardState } = from.disk.state
    if (message.kind === 'vote' && !message.pre) {
      this.#vote(message.term, message.from, message.from)
      this.#durable(from, message, hardState.term > message.term || hardState.vote === message.from)
    } else if (message.kind === 'voteReply' && message.granted && !message.pre) {
      this.#vote(message.term, message.from, message.to)
      this.#durable(from, message, hardState.term > message.term || hardState.vote === message.to)
    } else if (message.kind === 'appendReply') {
      this.#durable(from, message, hardState.term > message.term || lastIndexOf(from.disk.state) >= message.match)
    }
  }

  /** A node has applied an entry. */
  applied(id: StoreId, entry: Entry, digest: string): void {
    const known = this.#committed.get(entry.index)
    if (known !== undefined && known !== describeEntry(entry)) {
      throw breach('what is committed stays', `${id} applied ${describeEntry(entry)} at ${entry.index}, not ${known}`)
    }
    this.restored(id, entry.index, digest)
  }

  /** A node has the state of an index. */
  restored(id: StoreId, index: number, digest: string): void {
    const known = this.#digests.get(index)
    if (known === undefined) this.#digests.set(index, digest)
    else if (known !== digest) throw breach('applied prefixes are equal', `${id} differs at ${index}`)
  }

  /** A reader may go ahead at an index; when it asked, `floor` was known to be committed. */
  read(id: StoreId, index: number, floor: number): void {
    if (index < floor) throw breach('reads see what was committed before them', `${id} reads at ${index} < ${floor}`)
  }

  #vote(term: number, voter: StoreId, candidate: StoreId): void {
    const known = this.#votes.get(`${term} ${voter}`)
    if (known === undefined) this.#votes.set(`${term} ${voter}`, candidate)
    else if (known !== candidate) throw breach('one vote per term', `${voter} in ${term}: ${known}, ${candidate}`)
  }

  #durable(from: Observed, message: RaftMessage, isDurable: boolean): void {
    if (isDurable && from.disk.state.hardState.term >= message.term) return
    throw breach('no promise before it is durable', `${message.kind} of ${from.id} in term ${message.term}`)
  }

  #checkEntry(id: StoreId, log: ReadableLog, entry: Entry): void {
    const { index } = entry
    const what = describeEntry(entry)
    const before = log.termAt(index - 1)
    const key = `${index} ${entry.term}`
    const known = this.#entries.get(key)
    if (known === undefined) this.#entries.set(key, `${before} < ${what}`)
    else if (known !== `${before} < ${what}`) {
      throw breach('logs match', `${id} has ${before} < ${what} at ${index}, others ${known}`)
    }
    if (index > log.committed) return
    const committed = this.#committed.get(index)
    if (committed === undefined) this.#committed.set(index, what)
    else if (committed !== what) {
      throw breach('what is committed stays', `${id} has committed ${what} at ${index}, others ${committed}`)
    }
  }

  #checkCompleteness(id: StoreId, log: ReadableLog): void {
    for (const entry of log.entriesFrom(log.firstIndex, Number.POSITIVE_INFINITY)) {
      const committed = this.#committed.get(entry.index)
      if (committed !== undefined && committed !== describeEntry(entry)) {
        throw breach('leaders are complete', `${id} lacks ${committed} at ${entry.index}`)
      }
    }
    if (log.lastIndex < this.commit)
      throw breach('leaders are complete', `${id} ends at ${log.lastIndex} < ${this.commit}`)
  }

  #checkConfigurations(id: StoreId, log: ReadableLog): void {
    const open = log
      .entriesFrom(Math.max(log.committed + 1, log.firstIndex), Number.POSITIVE_INFINITY)
      .filter(({ kind }) => kind === 'configuration')
    if (open.length > 1) throw breach('one change at a time', `${id} has ${open.length} open configurations`)
    const [change] = open
    if (change?.kind !== 'configuration' || !isJoint(change.configuration)) return
    if (isJoint(log.configurationAt(change.index - 1))) throw breach('one change at a time', `${id} is doubly joint`)
  }
}

/** An entry in words. */
export function describeEntry(entry: Entry): string {
  if (entry.kind === 'command') return `${entry.term} ${fromUtf8(entry.command)}`
  if (entry.kind === 'empty') return `${entry.term} empty`
  const { voters, outgoing, learners } = entry.configuration
  return `${entry.term} ${[voters, outgoing, learners].map(list => list.join()).join('|')}`
}

function lastIndexOf({ firstIndex, entries }: LogState): number {
  return firstIndex - 1 + entries.length
}

function breach(rule: string, what: string): Breach {
  return new Breach(`${rule}: ${what}`)
}
