import assert from 'node:assert/strict'
import { utf8 } from '../../../src/base/bytes.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import type { Entry } from '../../../src/consensus/messages.ts'
import { EMPTY_LOG_STATE, RaftLog } from '../../../src/consensus/raft-log.ts'
import { Progress } from '../../../src/consensus/progress.ts'
import { storeId } from '../../support/raft-network.ts'

const ONE = { voters: [storeId(1)], outgoing: [], learners: [] }
const TWO = { voters: [storeId(1), storeId(2)], outgoing: [], learners: [] }

/** A log whose entries have these terms. */
function logOf(terms: readonly number[], commit = 0): RaftLog {
  const entries = terms.map((term, i): Entry => ({ index: i + 1, term, kind: 'command', command: utf8(`${i}`) }))
  return new RaftLog({ ...EMPTY_LOG_STATE, hardState: { term: 9, vote: undefined, commit }, entries })
}

function termsOf(log: RaftLog): (number | undefined)[] {
  return Array.from({ length: log.lastIndex - log.firstIndex + 1 }, (_, i) => log.termAt(log.firstIndex + i))
}

function command(index: number, term: number): Entry {
  return { index, term, kind: 'command', command: utf8('x') }
}

describe('a log in memory', () => {
  it('keeps what agrees with the leader and drops what does not', () => {
    const log = logOf([1, 1, 2, 2])
    assert.equal(log.accept(2, [command(3, 2)]), 3)
    assert.deepEqual(termsOf(log), [1, 1, 2, 2])
    assert.equal(log.accept(2, [command(3, 3), command(4, 3)]), 4)
    assert.deepEqual(termsOf(log), [1, 1, 3, 3])
    assert.equal(log.accept(4, []), 4)
  })

  it('never drops what is committed', () => {
    const log = logOf([1, 1, 2, 2], 3)
    // A leader that contradicts it cannot be; whoever claims to be one changes nothing.
    assert.equal(log.accept(1, [command(2, 3), command(3, 3)]), 3)
    assert.deepEqual(termsOf(log), [1, 1, 2, 2])
    assert.equal(log.accept(0, []), 3)
  })

  it('hands out what has to be written, again when it was cut off meanwhile', () => {
    const log = logOf([1, 1])
    log.append(2, { kind: 'empty' })
    log.append(2, { kind: 'empty' })
    assert.deepEqual(
      log.takeUnstable().entries.map(({ index }) => index),
      [3, 4]
    )
    log.accept(2, [command(3, 3)])
    log.wroteUnstable()
    assert.equal(log.stable, 2)
    assert.deepEqual(
      log.takeUnstable().entries.map(({ index, term }) => [index, term]),
      [[3, 3]]
    )
    log.wroteUnstable()
    assert.equal(log.stable, 3)
    assert.equal(log.hasUnstable, false)
  })

  it('hands out to be applied what is both committed and written, in slices', () => {
    const log = logOf([1, 1, 1])
    log.append(1, { kind: 'empty' })
    log.commitTo(4)
    assert.deepEqual(
      log.nextCommitted(2).map(({ index }) => index),
      [1, 2]
    )
    log.appliedTo(2)
    assert.deepEqual(
      log.nextCommitted(9).map(({ index }) => index),
      [3]
    )
    log.appliedTo(3)
    assert.equal(log.hasCommitted, false)
    log.takeUnstable()
    log.wroteUnstable()
    assert.equal(log.hasCommitted, true)
  })

  it('goes by its latest configuration, and back to the one before when that is cut off', () => {
    const log = logOf([1])
    log.append(1, { kind: 'configuration', configuration: ONE })
    log.append(1, { kind: 'configuration', configuration: TWO })
    assert.equal(log.configuration, TWO)
    assert.equal(log.configurationAt(2), ONE)
    log.accept(2, [command(3, 2)])
    assert.equal(log.configuration, ONE)
    log.accept(1, [command(2, 3)])
    assert.deepEqual(log.configuration.voters, [])
  })

  it('keeps the configuration of its snapshot when it is trimmed', () => {
    const log = logOf([1], 0)
    log.append(1, { kind: 'configuration', configuration: ONE })
    log.append(1, { kind: 'empty' })
    log.append(1, { kind: 'configuration', configuration: TWO })
    log.takeUnstable()
    log.wroteUnstable()
    log.commitTo(3)
    log.appliedTo(3)
    log.trim({ index: 3, term: 1, configuration: log.configurationAt(3), data: utf8('') }, 3)
    assert.deepEqual([log.firstIndex, log.lastIndex, log.termAt(2), log.termAt(1)], [3, 4, 1, undefined])
    assert.equal(log.configurationAt(3), ONE)
    log.accept(3, [command(4, 2)])
    assert.equal(log.configuration, ONE)
  })

  it('is replaced by a snapshot, and forgets what was being written', () => {
    const log = logOf([1, 1])
    log.append(2, { kind: 'empty' })
    log.takeUnstable()
    log.restore({ index: 10, term: 5, configuration: TWO, data: utf8('s') })
    log.wroteUnstable()
    assert.deepEqual([log.firstIndex, log.lastIndex, log.lastTerm, log.committed], [11, 10, 5, 10])
    assert.equal(log.hasCommitted, false)
    assert.equal(log.takeUnstable().snapshot?.index, 10)
    log.wroteUnstable()
    log.appliedTo(10)
    assert.equal(log.stable, 10)
    assert.equal(log.configuration, TWO)
  })

  it('finds how far back two logs may agree, a term at a time', () => {
    const log = logOf([1, 1, 2, 2, 2, 5, 5])
    assert.deepEqual(log.agreementBelow(7, 4), { index: 5, term: 2 })
    assert.deepEqual(log.agreementBelow(9, 5), { index: 7, term: 5 })
    assert.deepEqual(log.agreementBelow(4, 1), { index: 2, term: 1 })
    assert.deepEqual(log.agreementBelow(2, 0), { index: 0, term: 0 })
  })

  it('hands out at least one entry, and no more than asked for', () => {
    const log = logOf([1, 1, 1, 1])
    assert.equal(log.entriesFrom(1, 1).length, 1)
    assert.equal(log.entriesFrom(1, 80).length, 2)
    assert.equal(log.entriesFrom(3, 10_000).length, 2)
    assert.equal(log.entriesFrom(5, 10_000).length, 0)
    assert.deepEqual(
      [log.firstWithin(4, 2, 10_000), log.firstWithin(4, 9, 80), log.firstWithin(4, 9, 10_000)],
      [3, 3, 1]
    )
  })

  it('counts the bytes that wait to be committed', () => {
    const log = logOf([1, 1], 1)
    const before = log.uncommittedBytes
    log.append(1, { kind: 'command', command: new Uint8Array(1000) })
    assert.ok(log.uncommittedBytes >= before + 1000)
    log.commitTo(3)
    assert.equal(log.uncommittedBytes, 0)
  })

  it('stops at once when it is asked for what must not be', () => {
    const log = logOf([1, 1], 1)
    for (const wrong of [() => log.appliedTo(2), () => log.commitTo(3)]) {
      assert.throws(wrong, error => isKilovoltError(error, 'KV_INTERNAL'))
    }
  })
})

describe('what a leader knows of a follower', () => {
  const limits = { inflightMax: 2, inflightBytesMax: 200 }

  it('probes with one message at a time until the logs agree, then sends ahead', () => {
    const progress = new Progress(5, 0, limits)
    progress.sent([command(5, 1)], 0)
    assert.ok(progress.isPaused)
    assert.ok(progress.refused(4, 2))
    assert.deepEqual([progress.next, progress.isPaused], [3, false])
    progress.sent([command(3, 1)], 0)
    assert.ok(progress.accepted(3, 1))
    assert.deepEqual([progress.state, progress.next, progress.match], ['replicate', 4, 3])
  })

  it('sends ahead up to its limits, and on as answers come', () => {
    const progress = new Progress(1, 0, limits)
    progress.accepted(0, 1)
    progress.sent([command(1, 1)], 0)
    assert.ok(!progress.isPaused)
    progress.sent([command(2, 1)], 0)
    assert.ok(progress.isPaused)
    progress.accepted(1, 1)
    assert.ok(!progress.isPaused)
    progress.sent([{ index: 3, term: 1, kind: 'command', command: new Uint8Array(300) }], 0)
    progress.accepted(2, 1)
    assert.ok(progress.isPaused, 'a long entry is under way')
    progress.accepted(3, 1)
    assert.ok(!progress.isPaused)
  })

  it('takes no notice of refusals that are out of date', () => {
    const progress = new Progress(5, 0, limits)
    assert.ok(!progress.refused(7, 1))
    progress.accepted(4, 1)
    assert.ok(!progress.refused(3, 1))
    assert.equal(progress.state, 'replicate')
    assert.ok(progress.refused(6, 1))
    assert.deepEqual([progress.state, progress.next], ['probe', 5])
  })

  it('waits for a snapshot to be installed, and begins again when that takes too long', () => {
    const progress = new Progress(1, 0, limits)
    progress.sentSnapshot(1000)
    assert.ok(progress.isPaused)
    progress.accepted(0, 9)
    progress.giveUpSnapshot(5999, 5000)
    assert.equal(progress.state, 'snapshot')
    progress.accepted(7, 9)
    assert.equal(progress.state, 'snapshot')
    progress.accepted(8, 9)
    assert.deepEqual([progress.state, progress.next], ['replicate', 9])
    progress.sentSnapshot(1000)
    progress.giveUpSnapshot(6000, 5000)
    assert.deepEqual([progress.state, progress.next], ['probe', 9])
  })
})
