import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Command } from '../../../src/cluster/commands.ts'
import { MetaState } from '../../../src/cluster/meta-state.ts'
import { decodeCommand, encodeCommand } from '../../../src/cluster/wire.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import type { MemberStatus, Topology } from '../../../src/placement/topology.ts'
import { CLUSTER, member, store } from './fixtures.ts'

const FOUND: Command = {
  kind: 'found',
  clusterId: CLUSTER,
  name: 'test',
  partitions: 64,
  replicas: 3,
  member: member(1)
}

const anyStore = fc.integer({ min: 1, max: 6 })
const plain = { noNullPrototype: true }
const anyRow = fc.record(
  {
    partition: fc.integer({ min: 0, max: 70 }),
    rowEpoch: fc.integer({ min: 0, max: 30 }),
    next: fc.uniqueArray(anyStore, { maxLength: 4 }).map(list => list.map(store)),
    copies: fc.array(
      fc.record({ to: anyStore.map(store), from: fc.array(anyStore.map(store), { maxLength: 2 }) }, plain),
      {
        maxLength: 2
      }
    )
  },
  plain
)
const anyRefs = fc.array(
  fc.record({ partition: fc.integer({ min: 0, max: 70 }), rowEpoch: fc.integer({ min: 0, max: 30 }) }, plain),
  { maxLength: 5 }
)
const anyCommand: fc.Arbitrary<Command> = fc.oneof(
  anyStore.map((n): Command => ({ kind: 'addMember', member: member(n) })),
  fc
    .tuple(anyStore, fc.constantFrom<MemberStatus>('up', 'down', 'leaving', 'evicted'))
    .map(([n, status]): Command => ({ kind: 'setStatus', storeId: store(n), status })),
  anyStore.map((n): Command => ({ kind: 'removeMember', storeId: store(n) })),
  fc.array(anyRow, { maxLength: 5 }).map((rows): Command => ({ kind: 'changeBegin', rows })),
  anyRefs.map((rows): Command => ({ kind: 'changeEnd', rows })),
  anyRefs.map((rows): Command => ({ kind: 'changeAbort', rows }))
)

function apply(commands: readonly (Command | undefined)[]): MetaState {
  const state = new MetaState()
  for (const [i, command] of commands.entries())
    state.apply(i + 1, command === undefined ? undefined : encodeCommand(command))
  return state
}

describe('the state of the meta group', () => {
  it('begins with the founder owning every row', () => {
    const { topology } = apply([undefined, FOUND])
    assert.equal(topology?.epoch, 2)
    assert.equal(topology.rows.length, 64)
    assert.ok(topology.rows.every(({ slots }) => slots.length === 1 && slots[0] === store(1)))
  })

  it('keeps what it knows of a member that renews it, and lets nobody in with the name of another’s stamps', () => {
    const renewed = apply([FOUND, { kind: 'setStatus', storeId: store(1), status: 'leaving' }])
    renewed.apply(3, encodeCommand({ kind: 'addMember', member: member(1, { zone: 'z' }) }))
    const { status, joinedEpoch, zone } = renewed.topology!.members.get(store(1))!
    assert.deepEqual({ status, joinedEpoch, zone }, { status: 'up', joinedEpoch: 1, zone: 'z' })
  })

  it('is the same wherever the same entries were applied, in one go or from a snapshot on', () => {
    fc.assert(
      fc.property(fc.array(anyCommand, { maxLength: 30 }), fc.nat(), (commands, at) => {
        const all = [FOUND, ...commands]
        const whole = apply(all)
        const part = 1 + (at % all.length)
        const resumed = new MetaState()
        resumed.restore(apply(all.slice(0, part)).snapshot())
        for (const [i, command] of all.entries()) resumed.apply(i + 1, encodeCommand(command))
        assert.deepEqual(resumed.topology, whole.topology)
        assert.deepEqual(resumed.snapshot(), whole.snapshot())
      })
    )
  })

  it('writes no member that others could not read, however many addresses its machine has', () => {
    const addresses = [
      `/dns4/${'x'.repeat(300)}/tcp/1`,
      ...Array.from({ length: 100 }, (_, i) => `/ip4/10.0.0.${i}/tcp/1`)
    ]
    const command: Command = { kind: 'addMember', member: member(2, { addresses }) }
    const read = decodeCommand(encodeCommand(command))
    assert.deepEqual(read.kind === 'addMember' && read.member.addresses, addresses.slice(1, 33))
  })

  it('skips entries it has applied already, so that two sources may feed it', () => {
    const state = apply([FOUND, { kind: 'addMember', member: member(2) }])
    state.apply(1, encodeCommand({ kind: 'removeMember', storeId: store(2) }))
    assert.equal(state.topology?.members.size, 2)
    assert.equal(state.epoch, 2)
  })

  it('moves a row by begin and end, and back by abort', () => {
    const begin: Command = {
      kind: 'changeBegin',
      rows: [{ partition: 5, rowEpoch: 1, next: [store(1), store(2)], copies: [{ to: store(2), from: [store(1)] }] }]
    }
    const joined = [FOUND, { kind: 'addMember', member: member(2) }, begin] as const
    const changing = apply(joined).topology!.rows[5]!
    assert.deepEqual([changing.slots.length, changing.change?.next.length, changing.rowEpoch], [1, 2, 3])
    const ended = apply([...joined, { kind: 'changeEnd', rows: [{ partition: 5, rowEpoch: 3 }] }]).topology!.rows[5]!
    assert.deepEqual([ended.slots, ended.change, ended.rowEpoch], [[store(1), store(2)], undefined, 4])
    const aborted = apply([...joined, { kind: 'changeAbort', rows: [{ partition: 5, rowEpoch: 3 }] }]).topology!
      .rows[5]!
    assert.deepEqual([aborted.slots, aborted.change], [[store(1)], undefined])
  })

  it('ignores what does not fit: a stale row, two slots at once, a stranger, a colliding actor, an owner’s removal', () => {
    const before = apply([FOUND, { kind: 'addMember', member: member(2) }]).topology!
    const twin = `${store(2).slice(0, 16)}${'f'.repeat(16)}` as ReturnType<typeof store>
    const bad: Command[] = [
      { kind: 'changeBegin', rows: [{ partition: 0, rowEpoch: 9, next: [store(1), store(2)], copies: [] }] },
      { kind: 'changeBegin', rows: [{ partition: 0, rowEpoch: 1, next: [store(2), store(3)], copies: [] }] },
      { kind: 'changeBegin', rows: [{ partition: 0, rowEpoch: 1, next: [store(1), store(4)], copies: [] }] },
      { kind: 'changeBegin', rows: [{ partition: 0, rowEpoch: 1, next: [], copies: [] }] },
      ...[
        { to: store(3), from: [store(1)] },
        { to: store(2), from: [store(3)] },
        { to: store(2), from: [store(2)] }
      ].map((copy): Command => ({
        kind: 'changeBegin',
        rows: [{ partition: 0, rowEpoch: 1, next: [store(1), store(2)], copies: [copy] }]
      })),
      { kind: 'changeEnd', rows: [{ partition: 0, rowEpoch: 1 }] },
      { kind: 'changeAbort', rows: [{ partition: 99, rowEpoch: 1 }] },
      { kind: 'addMember', member: { ...member(2), storeId: twin } },
      { kind: 'removeMember', storeId: store(1) },
      { kind: 'setStatus', storeId: store(5), status: 'down' },
      FOUND
    ]
    for (const command of bad) {
      const after: Topology = apply([FOUND, { kind: 'addMember', member: member(2) }, command]).topology!
      assert.deepEqual({ ...after, epoch: 0 }, { ...before, epoch: 0 }, command.kind)
    }
  })

  it('whatever the commands: rows hold distinct members, one slot changes at a time, and unchanged rows are shared', () => {
    fc.assert(
      fc.property(fc.array(anyCommand, { maxLength: 40 }), commands => {
        const state = apply([FOUND])
        let previous = state.topology!
        for (const [i, command] of commands.entries()) {
          state.apply(i + 2, encodeCommand(command))
          const topology = state.topology!
          for (const [partition, row] of topology.rows.entries()) {
            if (row === previous.rows[partition]) continue
            const { slots, change, rowEpoch } = row
            assert.equal(rowEpoch, topology.epoch)
            assert.ok(slots.length > 0 && new Set(slots).size === slots.length)
            if (change === undefined) continue
            assert.ok(change.next.filter(id => !slots.includes(id)).length <= 1)
            assert.ok(slots.filter(id => !change.next.includes(id)).length <= 1)
            assert.ok(change.next.every(id => topology.members.has(id) || slots.includes(id)))
          }
          previous = topology
        }
      })
    )
  })

  it('comes back from a snapshot as it was, and never goes back to an earlier one', () => {
    fc.assert(
      fc.property(fc.array(anyCommand, { maxLength: 30 }), commands => {
        const state = apply([FOUND, ...commands])
        const copy = new MetaState()
        assert.ok(copy.restore(state.snapshot()))
        assert.deepEqual(copy.topology, state.topology)
        assert.equal(copy.restore(apply([FOUND]).snapshot()), false)
      })
    )
  })

  it('reads its commands back, and refuses those that are cut or garbled', () => {
    fc.assert(
      fc.property(anyCommand, fc.nat(), (command, cut) => {
        const bytes = encodeCommand(command)
        assert.deepEqual(decodeCommand(bytes), command)
        try {
          decodeCommand(bytes.subarray(0, cut % bytes.length))
          assert.fail('a cut command was read')
        } catch (error) {
          assert.ok(isKilovoltError(error, 'KV_PROTOCOL'), String(error))
        }
      })
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), bytes => {
        try {
          decodeCommand(bytes)
        } catch (error) {
          assert.ok(isKilovoltError(error, 'KV_PROTOCOL'), String(error))
        }
      })
    )
  })
})
