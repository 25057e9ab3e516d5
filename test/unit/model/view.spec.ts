import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import type { ClusterId, PeerId, StoreId } from '../../../src/model/node-id.ts'
import { type Liveness, mergeMember, mergeViews, type View, type ViewMember } from '../../../src/model/view.ts'

const storeIds = ['s1', 's2', 's3', 's4'] as StoreId[]

/** Few values for each field, so that reports often tie in all but one of them. */
const report = (storeId: StoreId): fc.Arbitrary<ViewMember> =>
  fc.record(
    {
      storeId: fc.constant(storeId),
      peerId: fc.constantFrom('p', 'q', 'p\n').map(text => text as PeerId),
      addresses: fc.array(fc.constantFrom('', 'x', 'y', 'x\ny'), { maxLength: 3 }),
      incarnation: fc.nat(2),
      status: fc.constantFrom<Liveness>('alive', 'suspect', 'dead', 'left'),
      clusterId: fc.constantFrom<ClusterId | undefined>(undefined, '' as ClusterId, 'x' as ClusterId),
      epoch: fc.nat(1)
    },
    { noNullPrototype: true }
  )
const view: fc.Arbitrary<View> = fc
  .tuple(...storeIds.map(id => fc.option(report(id), { nil: undefined })))
  .map(list => new Map(list.filter(member => member !== undefined).map(member => [member.storeId, member])))

const runs = { numRuns: 3000 }
const one = report(storeIds[0]!)

describe('mergeMember', () => {
  it('is commutative', () => {
    fc.assert(
      fc.property(one, one, (a, b) => assert.deepEqual(mergeMember(a, b), mergeMember(b, a))),
      runs
    )
  })

  it('is associative', () => {
    fc.assert(
      fc.property(one, one, one, (a, b, c) => {
        assert.deepEqual(mergeMember(mergeMember(a, b), c), mergeMember(a, mergeMember(b, c)))
      }),
      runs
    )
  })

  it('is idempotent, and gives one of the two', () => {
    fc.assert(
      fc.property(one, one, (a, b) => {
        const merged = mergeMember(a, b)
        assert.deepEqual(mergeMember(a, a), a)
        assert.deepEqual(mergeMember(merged, b), merged)
        assert.ok(merged === a || merged === b)
      }),
      runs
    )
  })

  it('lets a higher incarnation win over any accusation, and the worse status win within one', () => {
    fc.assert(
      fc.property(one, one, (a, b) => {
        const merged = mergeMember(a, b)
        assert.equal(merged.incarnation, Math.max(a.incarnation, b.incarnation))
        const worst: Liveness[] = ['alive', 'suspect', 'dead', 'left']
        const rivals = [a, b].filter(({ incarnation }) => incarnation === merged.incarnation)
        assert.ok(rivals.every(({ status }) => worst.indexOf(status) <= worst.indexOf(merged.status)))
      }),
      runs
    )
  })
})

describe('mergeViews', () => {
  const entries = (v: View): unknown => [...v].sort(([a], [b]) => (a < b ? -1 : 1))

  it('is commutative, associative and idempotent', () => {
    fc.assert(
      fc.property(view, view, view, (a, b, c) => {
        assert.deepEqual(entries(mergeViews(a, b)), entries(mergeViews(b, a)))
        assert.deepEqual(entries(mergeViews(mergeViews(a, b), c)), entries(mergeViews(a, mergeViews(b, c))))
        assert.deepEqual(entries(mergeViews(a, a)), entries(a))
      }),
      { numRuns: 500 }
    )
  })

  it('knows everyone that either side knows, and changes neither', () => {
    fc.assert(
      fc.property(view, view, (a, b) => {
        const before = [new Map(a), new Map(b)]
        assert.deepEqual(new Set(mergeViews(a, b).keys()), new Set([...a.keys(), ...b.keys()]))
        assert.deepEqual([a, b], before)
      })
    )
  })

  it('comes to the same whatever the order in which news travels', () => {
    fc.assert(
      fc.property(fc.array(view, { maxLength: 6 }), fc.infiniteStream(fc.nat()), (views, chance) => {
        const shuffled = views
          .map(v => ({ v, at: chance.next().value }))
          .sort((x, y) => x.at - y.at)
          .map(({ v }) => v)
        const fold = (list: View[]): View => list.reduce(mergeViews, new Map())
        assert.deepEqual(entries(fold(shuffled)), entries(fold(views)))
      })
    )
  })
})
