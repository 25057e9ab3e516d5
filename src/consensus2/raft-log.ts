import { assert } from '../base/assert.ts'
import { type Configuration, NO_CONFIGURATION } from './configuration.ts'
import type { Entry, Snapshot } from './messages.ts'

/** The log in memory: what follows the snapshot. Knows what of it is durable, and the configuration at its end. */
export class RaftLog {
  #snapshot: Snapshot | undefined
  #entries: Entry[]
  /** Everything up to here is on the medium. */
  #stable: number
  /** Configurations in the log, oldest first. */
  #configurations: { readonly index: number; readonly configuration: Configuration }[] = []

  constructor(snapshot: Snapshot | undefined, entries: readonly Entry[]) {
    this.#snapshot = snapshot
    this.#entries = [...entries]
    this.#stable = this.lastIndex
    for (const entry of entries) this.#noteConfiguration(entry)
  }

  get snapshot(): Snapshot | undefined {
    return this.#snapshot
  }

  /** Index of the snapshot; the first entry follows it. */
  get base(): number {
    return this.#snapshot?.index ?? 0
  }

  get lastIndex(): number {
    return this.base + this.#entries.length
  }

  get lastTerm(): number {
    return this.termAt(this.lastIndex)!
  }

  get stable(): number {
    return this.#stable
  }

  /** Bytes of the commands that are kept. */
  get bytes(): number {
    return this.#entries.reduce(
      (sum, { content }) => sum + (content.kind === 'command' ? content.command.length : 0),
      0
    )
  }

  /** Latest configuration in the log, committed or not: it is in force as soon as it is there (§6). */
  get configuration(): Configuration {
    return this.#configurations.at(-1)?.configuration ?? this.#snapshot?.configuration ?? NO_CONFIGURATION
  }

  get configurationIndex(): number {
    return this.#configurations.at(-1)?.index ?? this.base
  }

  /** The configuration as of an index. */
  configurationAt(index: number): Configuration {
    const found = this.#configurations.filter(entry => entry.index <= index).at(-1)
    return found?.configuration ?? this.#snapshot?.configuration ?? NO_CONFIGURATION
  }

  /** Term of an entry; `undefined` when it is trimmed or not there. */
  termAt(index: number): number | undefined {
    if (index === this.base) return this.#snapshot?.term ?? 0
    return this.#entries[index - this.base - 1]?.term
  }

  /** Entries after `from` up to and including `to`, until `maxBytes` are reached (one entry at least). */
  slice(from: number, to: number, maxBytes = Infinity): Entry[] {
    const entries: Entry[] = []
    let bytes = 0
    for (let index = Math.max(from, this.base) + 1; index <= Math.min(to, this.lastIndex); index++) {
      const entry = this.#entries[index - this.base - 1]!
      bytes += entry.content.kind === 'command' ? entry.content.command.length : 64
      if (entries.length > 0 && bytes > maxBytes) break
      entries.push(entry)
    }
    return entries
  }

  append(entry: Entry): void {
    assert(entry.index === this.lastIndex + 1, 'log entries are contiguous')
    this.#entries.push(entry)
    this.#noteConfiguration(entry)
  }

  /** Drops the entry at `index` and all after it. */
  truncate(index: number): void {
    assert(index > this.base, 'what a snapshot covers is never dropped')
    this.#entries.length = Math.min(this.#entries.length, index - this.base - 1)
    this.#stable = Math.min(this.#stable, index - 1)
    this.#configurations = this.#configurations.filter(entry => entry.index < index)
  }

  /** Entries up to `index` are durable, provided the one there is still of this term. */
  markStable(index: number, term: number): void {
    if (index > this.#stable && this.termAt(index) === term) this.#stable = index
  }

  /** Starts anew after a snapshot from the leader. */
  reset(snapshot: Snapshot): void {
    this.#snapshot = snapshot
    this.#entries = []
    this.#configurations = []
    this.#stable = snapshot.index
  }

  /** Replaces the entries up to the snapshot's index by it. */
  compact(snapshot: Snapshot): void {
    assert(snapshot.index > this.base && snapshot.index <= this.#stable, 'only durable entries are trimmed')
    this.#entries = this.#entries.slice(snapshot.index - this.base)
    this.#configurations = this.#configurations.filter(({ index }) => index > snapshot.index)
    this.#snapshot = snapshot
  }

  #noteConfiguration({ index, content }: Entry): void {
    if (content.kind === 'configuration') this.#configurations.push({ index, configuration: content.configuration })
  }
}
