import assert from 'node:assert/strict'
import { Caretaker, type CaretakerInput } from '../../../src/cluster/caretaker.ts'
import type { Command } from '../../../src/cluster/commands.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Row, Topology } from '../../../src/placement/topology.ts'
import { CARE, numbers, store, topology } from './fixtures.ts'

const OPTIONS = { ...CARE, warmUpMs: 10_000 }

function look(
  caretaker: Caretaker,
  of: Topology,
  nowMs: number,
  dead: readonly number[] = [],
  voters: readonly number[] = [],
  ended: readonly number[] = []
): Command[] {
  const input: CaretakerInput = {
    topology: of,
    nowMs,
    isDead: id => dead.map(store).includes(id),
    isElsewhere: () => false,
    hasEnded: id => ended.map(store).includes(id),
    voters: voters.map(store),
    rules: SOUND_RULES
  }
  return caretaker.look(input)
}

function kinds(commands: readonly Command[]): string[] {
  return commands.map(command => (command.kind === 'setStatus' ? command.status : command.kind))
}

/** Rows as a balanced table would have them, so that there is nothing to plan. */
function atRest(members: number): Topology {
  let of = topology(numbers(members), { slots: [1] })
  for (let i = 0; i < 100; i++) {
    const commands = new Caretaker(OPTIONS, 0).look({
      topology: of,
      nowMs: 0,
      isDead: () => false,
      isElsewhere: () => false,
      hasEnded: () => false,
      voters: [],
      rules: SOUND_RULES
    })
    const begin = commands.find(command => command.kind === 'changeBegin')
    if (begin?.kind !== 'changeBegin') break
    const rows = [...of.rows]
    for (const { partition, next } of begin.rows) rows[partition] = { slots: next, change: undefined, rowEpoch: 1 }
    of = { ...of, rows }
  }
  return of
}

describe('the caretaker', () => {
  it('leaves a table at rest alone', () => {
    const caretaker = new Caretaker(OPTIONS, 0)
    for (let nowMs = 0; nowMs < 20_000; nowMs += 500) assert.deepEqual(look(caretaker, atRest(3), nowMs), [])
  })

  it('gives a newcomer its copies: a slot more in each row, copied from an owner', () => {
    const caretaker = new Caretaker(OPTIONS, 0)
    const of = topology(numbers(2), { slots: [1] })
    assert.deepEqual(look(caretaker, of, 1000), [], 'joins are gathered for a moment')
    const [command] = look(caretaker, of, 1200)
    assert.equal(command?.kind, 'changeBegin')
    assert.ok(command.rows.length > 0)
    for (const { next, copies } of command.rows) {
      assert.deepEqual([...next].toSorted(), [store(1), store(2)])
      assert.deepEqual(copies, [{ to: store(2), from: [store(1)] }])
    }
  })

  it('ends a change when every copy is reported, and not for a report about an earlier one', () => {
    const row: Row = {
      slots: [store(1)],
      change: { next: [store(1), store(2)], copies: [{ to: store(2), from: [store(1)] }] },
      rowEpoch: 7
    }
    const of = topology(numbers(2), { rows: Array.from({ length: 64 }, () => row) })
    const caretaker = new Caretaker(OPTIONS, 0)
    caretaker.copied(store(2), { partition: 3, rowEpoch: 6 })
    assert.deepEqual(look(caretaker, of, 1000), [])
    caretaker.copied(store(1), { partition: 3, rowEpoch: 7 })
    assert.deepEqual(look(caretaker, of, 1100), [])
    caretaker.copied(store(2), { partition: 3, rowEpoch: 7 })
    assert.deepEqual(look(caretaker, of, 1200), [], 'others may be done soon')
    assert.deepEqual(look(caretaker, of, 1700), [{ kind: 'changeEnd', rows: [{ partition: 3, rowEpoch: 7 }] }])
  })

  it('ends changes at once when half of them are copied: what is left need not be waited for', () => {
    const row: Row = {
      slots: [store(1)],
      change: { next: [store(1), store(2)], copies: [{ to: store(2), from: [store(1)] }] },
      rowEpoch: 7
    }
    const still: Row = { slots: [store(1), store(2)], change: undefined, rowEpoch: 5 }
    const of = topology(numbers(2), { rows: Array.from({ length: 64 }, (_, i) => (i < 4 ? row : still)) })
    const caretaker = new Caretaker(OPTIONS, 0)
    caretaker.copied(store(2), { partition: 0, rowEpoch: 7 })
    assert.deepEqual(look(caretaker, of, 1000), [])
    caretaker.copied(store(2), { partition: 2, rowEpoch: 7 })
    const [end] = look(caretaker, of, 1001)
    assert.deepEqual(end, {
      kind: 'changeEnd',
      rows: [
        { partition: 0, rowEpoch: 7 },
        { partition: 2, rowEpoch: 7 }
      ]
    })
  })

  it('gives a change up when who copies, or who is copied from, dies', () => {
    const row: Row = {
      slots: [store(1)],
      change: { next: [store(1), store(2)], copies: [{ to: store(2), from: [store(1)] }] },
      rowEpoch: 7
    }
    const down = [{ n: 1 }, { n: 2, status: 'down' as const }]
    const of = topology(down, { rows: [row, ...Array.from({ length: 63 }, () => ({ ...row, change: undefined }))] })
    assert.deepEqual(kinds(look(new Caretaker(OPTIONS, 0), of, 1000, [2])), ['changeAbort'])
  })

  it('marks a member that stays dead as down, and as up again when it is back', () => {
    const caretaker = new Caretaker(OPTIONS, 0)
    assert.deepEqual(look(caretaker, atRest(3), 1000, [3]), [])
    assert.deepEqual(look(caretaker, atRest(3), 5900, [3]), [])
    assert.deepEqual(kinds(look(caretaker, atRest(3), 6000, [3])), ['down'])
    const down = topology([{ n: 1 }, { n: 2 }, { n: 3, status: 'down' }])
    assert.deepEqual(kinds(look(caretaker, down, 2000)), ['up'])
  })

  it('evicts a dead member after its time, sooner in memory, when others can take its copies', () => {
    const members = [1, 2, 3, 4].map(n => ({ n, status: n === 4 ? ('down' as const) : ('up' as const) }))
    const memory = new Caretaker(OPTIONS, 0)
    look(memory, topology(members), 0, [4])
    assert.deepEqual(
      kinds(look(memory, topology(members), 14_000, [4])).filter(kind => kind === 'evicted'),
      []
    )
    assert.deepEqual(kinds(look(memory, topology(members), 15_000, [4])), ['evicted'])
    const disk = new Caretaker(OPTIONS, 0)
    const onDisk = topology(members.map(one => ({ ...one, volatile: false })))
    look(disk, onDisk, 0, [4])
    assert.ok(!kinds(look(disk, onDisk, 20_000, [4])).includes('evicted'))
    assert.deepEqual(kinds(look(disk, onDisk, 300_000, [4])), ['evicted'])
  })

  it('keeps a dead member’s place while nobody else could take it', () => {
    const caretaker = new Caretaker(OPTIONS, 0)
    const of = topology([{ n: 1 }, { n: 2 }, { n: 3, status: 'down' }], { rows: atRest(3).rows })
    look(caretaker, of, 0, [3])
    assert.deepEqual(look(caretaker, of, 60_000, [3]), [])
  })

  it('waits for a row whose owners are mostly gone, unless their data is certain to be lost', () => {
    const members = [{ n: 1 }, { n: 2, status: 'evicted' as const }, { n: 3, status: 'evicted' as const }, { n: 4 }]
    const of = topology(members, { slots: [1, 2, 3] })
    const begun = (caretaker: Caretaker, topology: Topology, nowMs: number): boolean =>
      kinds(look(caretaker, topology, nowMs, [2, 3])).includes('changeBegin')
    // Both died long ago, and not at once: nothing is held.
    const caretaker = new Caretaker(OPTIONS, 0)
    look(caretaker, of, 0, [2])
    look(caretaker, of, 70_000, [2, 3])
    assert.ok(!begun(caretaker, of, 140_000), 'they may be cut off, and serve')
    assert.ok(begun(caretaker, of, 700_000), 'after so long they are given up')
    const addresses = of.members.get(store(2))!.addresses
    const reborn = new Map(of.members)
    for (const n of [3, 4]) reborn.set(store(n), { ...of.members.get(store(n))!, addresses })
    const sooner = new Caretaker(OPTIONS, 0)
    const taken: Topology = { ...of, members: reborn }
    look(sooner, taken, 0, [2])
    look(sooner, taken, 70_000, [2, 3])
    assert.ok(begun(sooner, taken, 140_000), 'another store answers at their address')
    const soon = new Caretaker(OPTIONS, 0)
    look(soon, of, 0, [2, 3])
    assert.ok(!kinds(look(soon, of, 20_000, [2, 3], [], [2])).includes('changeBegin'), 'one of them may be cut off')
    assert.ok(
      kinds(look(soon, of, 25_000, [2, 3], [], [2, 3])).includes('changeBegin'),
      'nothing listens there any more'
    )
  })

  it('knows who has ended in a cluster that was founded again, where nobody knows who joined first', () => {
    const members = [1, 2, 3, 4, 5, 6].map(n => ({ n, status: n > 3 ? ('evicted' as const) : ('up' as const) }))
    const of = topology(members, { slots: [4, 5, 6] })
    const placed = (from: number, to: number): Topology => {
      const all = new Map([...of.members].map(([id, member]) => [id, { ...member, joinedEpoch: 0 }]))
      const { addresses } = all.get(store(from))!
      return { ...of, members: all.set(store(to), { ...all.get(store(to))!, addresses }) }
    }
    const begun = (topology: Topology): boolean => {
      const caretaker = new Caretaker(OPTIONS, 0)
      for (const nowMs of [0, 70_000, 140_000]) {
        if (kinds(look(caretaker, topology, nowMs, [4, 5, 6], [], [5, 6])).includes('changeBegin')) return true
      }
      return false
    }
    assert.ok(!begun(of), 'the fourth may be cut off')
    assert.ok(begun(placed(1, 4)), 'the first answers at its address')
    assert.ok(!begun(placed(5, 4)), 'whoever had its address is dead as well')
  })

  it('does not forget a member that still votes', () => {
    const of = topology([{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4, status: 'leaving' }])
    const caretaker = new Caretaker(OPTIONS, 0)
    assert.ok(!kinds(look(caretaker, of, 1000, [], [4])).includes('removeMember'))
    assert.ok(kinds(look(caretaker, of, 1100, [], [1])).includes('removeMember'))
  })

  it('holds a cluster for young only when it was founded under this leader', () => {
    const six = topology(numbers(6), { rows: atRest(5).rows })
    const founder = new Caretaker(OPTIONS, 0, true)
    look(founder, six, 1000)
    assert.deepEqual(kinds(look(founder, six, 2000)), ['changeBegin'])
    const later = new Caretaker(OPTIONS, 0)
    look(later, six, 1000)
    assert.deepEqual(look(later, six, 2000), [])
  })

  it('holds all movement when more than a third falls at once', () => {
    const members = [1, 2, 3, 4, 5, 6, 7].map(n => ({ n, status: n > 4 ? ('down' as const) : ('up' as const) }))
    const caretaker = new Caretaker(OPTIONS, 0)
    look(caretaker, topology(members), 0, [5, 6, 7])
    assert.ok(caretaker.isHolding(1000))
    assert.deepEqual(look(caretaker, topology(members), 20_000, [5, 6, 7]), [])
    look(caretaker, topology(numbers(7)), 21_000)
    assert.ok(!caretaker.isHolding(21_000))
  })

  it('does not take members that leave together for a failure', () => {
    const members = [1, 2, 3, 4, 5, 6, 7].map(n => ({ n, status: n > 4 ? ('leaving' as const) : ('up' as const) }))
    const caretaker = new Caretaker(OPTIONS, 0)
    look(caretaker, topology(members), 0, [5, 6, 7])
    assert.ok(!caretaker.isHolding(1000))
  })

  it('moves again when most are back, though one of them is dead for good', () => {
    const members = [1, 2, 3, 4, 5, 6, 7].map(n => ({ n, status: n > 4 ? ('down' as const) : ('up' as const) }))
    const caretaker = new Caretaker(OPTIONS, 0)
    look(caretaker, topology(members), 0, [5, 6, 7])
    const commands = look(caretaker, topology(members), 20_000, [7])
    assert.ok(!caretaker.isHolding(20_000))
    assert.ok(commands.some(command => command.kind === 'setStatus' && command.status === 'evicted'))
  })

  it('does not take two deaths for a fault of the network, whatever the number of members', () => {
    const members = [1, 2, 3, 4, 5].map(n => ({ n, status: n > 3 ? ('down' as const) : ('up' as const) }))
    const caretaker = new Caretaker(OPTIONS, 0)
    look(caretaker, topology(members), 0, [4, 5])
    assert.ok(!caretaker.isHolding(1000))
    const commands = look(caretaker, topology(members), 20_000, [4, 5])
    const evicted = commands.filter(command => command.kind === 'setStatus' && command.status === 'evicted')
    assert.equal(evicted.length, 2)
  })

  it('forgets who has left, and the dead in memory, once they own nothing', () => {
    const of = topology([{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4, status: 'evicted' }, { n: 5, status: 'leaving' }])
    const caretaker = new Caretaker(OPTIONS, 0)
    assert.deepEqual(kinds(look(caretaker, of, 1000, [4])), ['removeMember', 'removeMember'])
    const owning = topology([{ n: 1 }, { n: 2 }, { n: 3, status: 'leaving' }])
    assert.ok(!kinds(look(new Caretaker(OPTIONS, 0), owning, 1000)).includes('removeMember'))
  })

  it('lets a newcomer of a formed cluster warm up before it takes anything', () => {
    const five = atRest(5)
    const six = topology(numbers(6), { rows: five.rows })
    const caretaker = new Caretaker(OPTIONS, -1_000_000)
    assert.deepEqual(look(caretaker, six, 0), [])
    assert.deepEqual(look(caretaker, six, 9000), [])
    assert.deepEqual(kinds(look(caretaker, six, 12_500)), ['changeBegin'])
  })
})
