import { assert } from '../base/assert.ts'
import { type Configuration, NO_CONFIGURATION } from './configuration.ts'
import { type Entry, type EntryContent, type HardState, type Snapshot, entryBytes } from './messages.ts'

/** A log as it was read from the store. */
export interface LogState {
  readonly hardState: HardState
  /** The latest snapshot; `undefined` when the log goes back to index 1. */
  readonly snapshot: Snapshot | undefined
  /** Index of the first entry that is kept, at most one after the snapshot, and the term of the one before it. */
  readonly firstIndex: number
  readonly beforeTerm: number
  readonly entries: readonly Entry[]
}

/** What an empty store holds. */
export const EMPTY_LOG_STATE: LogState = {
  hardState: { term: 0, vote: undefined, commit: 0 },
  snapshot: undefined,
  firstIndex: 1,
  beforeTerm: 0,
  entries: []
}

interface ConfigurationAt {
  readonly index: number
  readonly configuration: Configuration
}

/**
 * A group's log in memory:
 *
 *     trimmed │ first … applied … committed … stable … last
 *             └─ the snapshot lies somewhere between first − 1 and applied
 *
 * What is above `stable` has yet to be written; it is handed out by {@link takeUnstable} and counts as written from
 * {@link wroteUnstable} on, unless it was cut off in the meantime. Only what is both committed and stable is applied, so
 * that a node's state never runs ahead of what it would find after a restart.
 */
export class RaftLog {
  #entries: Entry[]
  #firstIndex: number
  #beforeTerm: number
  #snapshot: Snapshot | undefined
  /** A snapshot from the leader that has yet to be written. */
  #received: Snapshot | undefined
  #stable: number
  /** What the write under way will make stable. */
  #writing: number
  #committed: number
  #applied: number
  #bytes = 0
  #uncommittedBytes = 0
  /** All configurations from the last one of the snapshot on; never empty. */
  #configurations: ConfigurationAt[]

  constructor({ hardState, snapshot, firstIndex, beforeTerm, entries }: LogState) {
    this.#entries = [...entries]
    this.#firstIndex = firstIndex
    this.#beforeTerm = beforeTerm
    this.#snapshot = snapshot
    this.#stable = this.#writing = this.lastIndex
    this.#applied = snapshot?.index ?? 0
    this.#committed = Math.max(this.#applied, hardState.commit)
    this.#configurations = [
      snapshot === undefined ? { index: 0, configuration: NO_CONFIGURATION } : configurationOf(snapshot)
    ]
    for (const entry of entries) {
      this.#bytes += entryBytes(entry)
      if (entry.index > this.#committed) this.#uncommittedBytes += entryBytes(entry)
      if (entry.index > this.#applied) this.#note(entry)
    }
    assert(this.#committed <= this.lastIndex, 'what is committed is in the log')
  }

  get firstIndex(): number {
    return this.#firstIndex
  }

  get lastIndex(): number {
    return this.#firstIndex + this.#entries.length - 1
  }

  get lastTerm(): number {
    return this.#entries.at(-1)?.term ?? this.#beforeTerm
  }

  /** Index up to which everything is durable. */
  get stable(): number {
    return this.#stable
  }

  get committed(): number {
    return this.#committed
  }

  /** Index up to which everything was handed out to be applied and reported as done. */
  get applied(): number {
    return this.#applied
  }

  /** What can be sent in place of trimmed entries. */
  get snapshot(): Snapshot | undefined {
    return this.#snapshot
  }

  /** About the memory that the entries take. */
  get bytes(): number {
    return this.#bytes
  }

  get uncommittedBytes(): number {
    return this.#uncommittedBytes
  }

  /** The latest configuration in the log. */
  get configuration(): Configuration {
    return this.#configurations.at(-1)!.configuration
  }

  get configurationIndex(): number {
    return this.#configurations.at(-1)!.index
  }

  /** The configuration that an index has before it or on it; the index must not be below the snapshot's. */
  configurationAt(index: number): Configuration {
    let found = this.#configurations[0]!
    for (const each of this.#configurations) if (each.index <= index) found = each
    return found.configuration
  }

  /** `undefined` for what is trimmed or not there yet. */
  termAt(index: number): number | undefined {
    if (index === this.#firstIndex - 1) return this.#beforeTerm
    return index >= this.#firstIndex ? this.#entries[index - this.#firstIndex]?.term : undefined
  }

  /** Entries from an index on, at least one if there is any, not many more bytes than asked for. */
  entriesFrom(index: number, maxBytes: number): Entry[] {
    const found: Entry[] = []
    let bytes = 0
    for (let at = index - this.#firstIndex; at < this.#entries.length; at++) {
      const entry = this.#entries[at]!
      bytes += entryBytes(entry)
      if (found.length > 0 && bytes > maxBytes) break
      found.push(entry)
    }
    return found
  }

  /** The least index such that from it to `last` there are at most so many entries and not many more bytes. */
  firstWithin(last: number, maxEntries: number, maxBytes: number): number {
    let bytes = 0
    for (let index = last; index >= this.#firstIndex; index--) {
      bytes += entryBytes(this.#entries[index - this.#firstIndex]!)
      if (last - index >= maxEntries || bytes > maxBytes) return index + 1
    }
    return this.#firstIndex
  }

  /** Leader: adds an entry at the end. */
  append(term: number, content: EntryContent): Entry {
    const entry: Entry = { index: this.lastIndex + 1, term, ...content }
    this.#push(entry)
    return entry
  }

  /**
   * Follower: makes the log agree with the leader's after a place at which it already does. What is committed stays as it
   * is; what contradicts the leader above it goes. Returns the index up to which the logs agree now.
   */
  accept(prevIndex: number, entries: readonly Entry[]): number {
    const last = prevIndex + entries.length
    for (const entry of entries) {
      if (entry.index <= this.#committed) continue
      const term = this.termAt(entry.index)
      if (term === entry.term) continue
      if (term !== undefined) this.#cut(entry.index)
      this.#push(entry)
    }
    return prevIndex < this.#committed ? Math.max(last, this.#committed) : last
  }

  /**
   * The greatest index up to the given one whose term is not above the given one: where a log with that term at that
   * index may still agree with this one. Skips whole terms at a time (Raft §5.3, end).
   */
  agreementBelow(index: number, term: number): { readonly index: number; readonly term: number } {
    let at = Math.min(index, this.lastIndex)
    for (;;) {
      const own = this.termAt(at)
      if (own === undefined) return { index: at, term: 0 }
      if (own <= term || at === 0) return { index: at, term: own }
      at--
    }
  }

  /** Everything up to the index is committed. */
  commitTo(index: number): void {
    for (let at = this.#committed + 1; at <= index; at++) {
      const entry = this.#entries[at - this.#firstIndex]
      assert(entry !== undefined, 'what is committed is in the log')
      this.#uncommittedBytes -= entryBytes(entry)
      this.#committed = at
    }
  }

  /** Follower: the leader's snapshot takes the place of the whole log (Raft §7). */
  restore(snapshot: Snapshot): void {
    assert(snapshot.index > this.#committed, 'a snapshot only ever leads forward')
    this.#entries = []
    this.#bytes = this.#uncommittedBytes = 0
    this.#firstIndex = snapshot.index + 1
    this.#beforeTerm = snapshot.term
    this.#snapshot = this.#received = snapshot
    this.#committed = snapshot.index
    this.#stable = Math.min(this.#stable, snapshot.index)
    this.#writing = Math.min(this.#writing, snapshot.index)
    this.#configurations = [configurationOf(snapshot)]
  }

  /** A snapshot of the applied state is durable: entries below an index are not needed any more. */
  trim(snapshot: Snapshot, firstIndex: number): void {
    assert(snapshot.index <= this.#applied && firstIndex <= snapshot.index + 1, 'only applied entries are trimmed')
    // A later one may have come from the leader in the meantime.
    if (snapshot.index < (this.#snapshot?.index ?? 0)) return
    const base: ConfigurationAt = { index: snapshot.index, configuration: snapshot.configuration }
    this.#snapshot = snapshot
    this.#configurations = [base, ...this.#configurations.filter(({ index }) => index > snapshot.index)]
    if (firstIndex <= this.#firstIndex) return
    this.#beforeTerm = this.termAt(firstIndex - 1)!
    for (const entry of this.#entries.splice(0, firstIndex - this.#firstIndex)) this.#bytes -= entryBytes(entry)
    this.#firstIndex = firstIndex
  }

  /** Hands out what has to be written: a received snapshot, which replaces the log, and the entries after `stable`. */
  takeUnstable(): { readonly snapshot: Snapshot | undefined; readonly entries: readonly Entry[] } {
    const snapshot = this.#received
    this.#received = undefined
    const from = Math.max(this.#stable + 1, this.#firstIndex)
    this.#writing = this.lastIndex
    return { snapshot, entries: this.#entries.slice(from - this.#firstIndex) }
  }

  get hasUnstable(): boolean {
    return this.#received !== undefined || this.#stable < this.lastIndex
  }

  /** What was taken is durable now. */
  wroteUnstable(): void {
    this.#stable = Math.max(this.#stable, this.#writing)
  }

  get hasCommitted(): boolean {
    return this.#received === undefined && this.#applied < Math.min(this.#committed, this.#stable)
  }

  /** The next entries to apply, at most `max`. */
  nextCommitted(max: number): readonly Entry[] {
    if (!this.hasCommitted) return []
    const from = Math.max(this.#applied + 1, this.#firstIndex)
    const to = Math.min(this.#committed, this.#stable, from + max - 1)
    return this.#entries.slice(from - this.#firstIndex, to + 1 - this.#firstIndex)
  }

  /** Everything up to the index is applied. */
  appliedTo(index: number): void {
    assert(index <= this.#committed, 'only what is committed is applied')
    this.#applied = Math.max(this.#applied, index)
  }

  #push(entry: Entry): void {
    assert(entry.index === this.lastIndex + 1, 'a log has no gaps')
    this.#entries.push(entry)
    this.#bytes += entryBytes(entry)
    this.#uncommittedBytes += entryBytes(entry)
    this.#note(entry)
  }

  #note(entry: Entry): void {
    if (entry.kind !== 'configuration') return
    this.#configurations.push({ index: entry.index, configuration: entry.configuration })
  }

  /** Drops entries from an index on. */
  #cut(from: number): void {
    assert(from > this.#committed, 'what is committed stays')
    for (const entry of this.#entries.splice(from - this.#firstIndex)) {
      this.#bytes -= entryBytes(entry)
      this.#uncommittedBytes -= entryBytes(entry)
    }
    this.#stable = Math.min(this.#stable, from - 1)
    this.#writing = Math.min(this.#writing, from - 1)
    while (this.configurationIndex >= from) this.#configurations.pop()
  }
}

function configurationOf({ index, configuration }: Snapshot): ConfigurationAt {
  return { index, configuration }
}

/** The log for reading only. */
export type ReadableLog = Pick<
  RaftLog,
  | 'firstIndex'
  | 'lastIndex'
  | 'lastTerm'
  | 'stable'
  | 'committed'
  | 'applied'
  | 'snapshot'
  | 'bytes'
  | 'configuration'
  | 'configurationIndex'
  | 'configurationAt'
  | 'termAt'
  | 'entriesFrom'
  | 'firstWithin'
>
