import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Command } from '../../../src/cluster/commands.ts'
import { MetaState } from '../../../src/cluster/meta-state.ts'
import { decodeCommand, encodeCommand } from '../../../src/cluster/wire.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import type { ClusterId } from '../../../src/model/node-id.ts'
import type { MemberStatus, Topology } from '../../../src/placement/topology.ts'
import { CLUSTER, found, member, store } from './fixtures.ts'

const FOUND = found()

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
const anyCluster = fc.integer({ min: 1, max: 5 }).map(n => `${n}`.repeat(32) as ClusterId)
const anyClusters = fc.uniqueArray(anyCluster, { maxLength: 3 })
const STATE = apply([FOUND, { kind: 'addMember', member: member(2), former: [] }]).snapshot()
const anyCommand: fc.Arbitrary<Command> = fc.oneof(
  anyStore.map((n): Command => ({ kind: 'addMember', member: member(n), former: [] })),
  fc
    .tuple(anyStore, fc.constantFrom<MemberStatus>('up', 'down', 'leaving', 'evicted'))
    .map(([n, status]): Command => ({ kind: 'setStatus', storeId: store(n), status })),
  anyStore.map((n): Command => ({ kind: 'removeMember', storeId: store(n) })),
  fc.array(anyRow, { maxLength: 5 }).map((rows): Command => ({ kind: 'changeBegin', rows })),
  anyRefs.map((rows): Command => ({ kind: 'changeEnd', rows })),
  anyRefs.map((rows): Command => ({ kind: 'changeAbort', rows })),
  fc.tuple(anyStore, anyClusters).map(([n, former]): Command => ({ kind: 'addMember', member: member(n), former })),
  fc
    .tuple(anyCluster, anyClusters, fc.array(anyStore, { maxLength: 3 }))
    .map(([cluster, absorbed, stores]): Command => {
      return { kind: 'absorb', cluster, absorbed, members: stores.map(n => member(n)) }
    }),
  anyCluster.map((cluster): Command => ({ kind: 'absorbCancel', cluster })),
  fc.tuple(anyCluster, fc.nat({ max: 50 })).map(([into, epoch]): Command => ({ kind: 'dissolve', into, epoch })),
  fc
    .tuple(anyCluster, fc.nat())
    .map(([clusterId, foundedMs]): Command => ({ kind: 'refound', clusterId, foundedMs, state: STATE }))
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
    renewed.apply(3, encodeCommand({ kind: 'addMember', member: member(1, { zone: 'z' }), former: [] }))
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
    const command: Command = { kind: 'addMember', member: member(2, { addresses }), former: [] }
    const read = decodeCommand(encodeCommand(command))
    assert.deepEqual(read.kind === 'addMember' && read.member.addresses, addresses.slice(1, 33))
  })

  it('skips entries it has applied already, so that two sources may feed it', () => {
    const state = apply([FOUND, { kind: 'addMember', member: member(2), former: [] }])
    state.apply(1, encodeCommand({ kind: 'removeMember', storeId: store(2) }))
    assert.equal(state.topology?.members.size, 2)
    assert.equal(state.epoch, 2)
  })

  it('moves a row by begin and end, and back by abort', () => {
    const begin: Command = {
      kind: 'changeBegin',
      rows: [{ partition: 5, rowEpoch: 1, next: [store(1), store(2)], copies: [{ to: store(2), from: [store(1)] }] }]
    }
    const joined = [FOUND, { kind: 'addMember', member: member(2), former: [] }, begin] as const
    const changing = apply(joined).topology!.rows[5]!
    assert.deepEqual([changing.slots.length, changing.change?.next.length, changing.rowEpoch], [1, 2, 3])
    const ended = apply([...joined, { kind: 'changeEnd', rows: [{ partition: 5, rowEpoch: 3 }] }]).topology!.rows[5]!
    assert.deepEqual([ended.slots, ended.change, ended.rowEpoch], [[store(1), store(2)], undefined, 4])
    const aborted = apply([...joined, { kind: 'changeAbort', rows: [{ partition: 5, rowEpoch: 3 }] }]).topology!
      .rows[5]!
    assert.deepEqual([aborted.slots, aborted.change], [[store(1)], undefined])
  })

  it('ignores what does not fit: a stale row, two slots at once, a stranger, a colliding actor, an owner’s removal', () => {
    const before = apply([FOUND, { kind: 'addMember', member: member(2), former: [] }]).topology!
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
      { kind: 'addMember', member: { ...member(2), storeId: twin }, former: [] },
      { kind: 'removeMember', storeId: store(1) },
      { kind: 'setStatus', storeId: store(5), status: 'down' },
      FOUND
    ]
    for (const command of bad) {
      const after: Topology = apply([FOUND, { kind: 'addMember', member: member(2), former: [] }, command]).topology!
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
        assert.deepEqual(copy.snapshot(), state.snapshot())
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

  describe('beside other clusters of the name', () => {
    const [a, b, c] = ['a', 'b', 'c'].map(id => id.repeat(32) as ClusterId) as [ClusterId, ClusterId, ClusterId]
    const joined: Command = { kind: 'addMember', member: member(2), former: [] }

    it('ends with its dissolution: nothing is done after it (I6)', () => {
      const absorb: Command = { kind: 'absorb', cluster: b, absorbed: [], members: [] }
      const state = apply([FOUND, { kind: 'dissolve', into: a, epoch: 1 }, joined, absorb])
      assert.equal(state.kinship.dissolvedInto, a)
      assert.equal(state.topology!.members.size, 1)
      assert.equal(state.kinship.absorbing.size, 0)
      assert.equal(state.epoch, 4)
    })

    it('does not dissolve while another is expected, while a row changes, or into itself', () => {
      const absorb: Command = { kind: 'absorb', cluster: b, absorbed: [c], members: [] }
      const dissolve: Command = { kind: 'dissolve', into: a, epoch: 9 }
      const pinned = apply([FOUND, absorb, dissolve])
      assert.equal(pinned.kinship.dissolvedInto, undefined)
      pinned.apply(4, encodeCommand({ kind: 'absorbCancel', cluster: b }))
      pinned.apply(5, encodeCommand(dissolve))
      assert.equal(pinned.kinship.dissolvedInto, a)
      const begin: Command = {
        kind: 'changeBegin',
        rows: [{ partition: 5, rowEpoch: 1, next: [store(1), store(2)], copies: [] }]
      }
      assert.equal(apply([FOUND, joined, begin, dissolve]).kinship.dissolvedInto, undefined)
      assert.equal(apply([FOUND, { kind: 'dissolve', into: CLUSTER, epoch: 9 }]).kinship.dissolvedInto, undefined)
    })

    it('does not dissolve when somebody has joined since the other was told whom to expect', () => {
      assert.equal(apply([FOUND, joined, { kind: 'dissolve', into: a, epoch: 1 }]).kinship.dissolvedInto, undefined)
      assert.equal(apply([FOUND, joined, { kind: 'dissolve', into: a, epoch: 2 }]).kinship.dissolvedInto, a)
    })

    it('expects the members of a cluster that may come, until they do or it does not', () => {
      const absorb: Command = { kind: 'absorb', cluster: a, absorbed: [], members: [member(1), member(2), member(3)] }
      const state = apply([FOUND, absorb])
      const statuses = (): unknown => [...state.topology!.members.values()].map(({ status }) => status)
      assert.deepEqual(statuses(), ['up', 'arriving', 'arriving'])
      state.apply(3, encodeCommand({ ...joined, former: [a] }))
      assert.deepEqual(statuses(), ['up', 'up', 'arriving'])
      state.apply(4, encodeCommand({ kind: 'absorbCancel', cluster: a }))
      assert.deepEqual(statuses(), ['up', 'up', 'arriving'], 'it has come, and this one is missing')
      const cancelled = apply([FOUND, absorb, { kind: 'absorbCancel', cluster: a }])
      assert.deepEqual([...cancelled.topology!.members.keys()], [store(1)])
    })

    it('knows that a cluster has ended when somebody has come over from it', () => {
      const absorb: Command = { kind: 'absorb', cluster: a, absorbed: [b], members: [] }
      const state = apply([FOUND, absorb, { ...joined, former: [a, c] }])
      assert.deepEqual([...state.kinship.absorbing], [])
      assert.deepEqual([...state.kinship.absorbed].toSorted(), [a, b, c])
    })

    it('goes on for another with its members and owners, and without what had begun to change', () => {
      const begin: Command = {
        kind: 'changeBegin',
        rows: [{ partition: 5, rowEpoch: 1, next: [store(1), store(2)], copies: [] }]
      }
      const before = apply([FOUND, { ...joined, former: [b] }, begin])
      const after = apply([{ kind: 'refound', clusterId: a, foundedMs: 7, state: before.snapshot() }])
      const { clusterId, epoch, members, rows, name, replicas } = after.topology!
      assert.deepEqual([clusterId, epoch, name, replicas, members.size, rows.length], [a, 1, 'test', 3, 2, 64])
      assert.deepEqual(rows[5], { slots: [store(1)], change: undefined, rowEpoch: 1 })
      assert.deepEqual([...after.kinship.lineage], [CLUSTER])
      assert.deepEqual([...after.kinship.absorbed], [b])
      assert.equal(after.kinship.foundedMs, 7)
    })
  })
})
