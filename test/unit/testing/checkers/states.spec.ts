import assert from 'node:assert/strict'
import { utf8 } from '../../../../src/base/bytes.ts'
import type { Actor, ClusterId, PeerId, StoreId } from '../../../../src/model/node-id.ts'
import { encodeRecord } from '../../../../src/model/record.ts'
import type { Liveness, ViewMember } from '../../../../src/model/view.ts'
import { checkBounds } from '../../../../src/testing/checkers/bounds.ts'
import { ConsensusChecker } from '../../../../src/testing/checkers/consensus.ts'
import { checkLeftovers } from '../../../../src/testing/checkers/leftovers.ts'
import { checkReplicas } from '../../../../src/testing/checkers/replicas.ts'
import { checkViews } from '../../../../src/testing/checkers/views.ts'

const store = (name: string): StoreId => name.repeat(32) as StoreId
const [a, b, c] = [store('a'), store('b'), store('c')]

function record(hlc: number, value: string) {
  return encodeRecord({ stamp: { hlc, actor: '0011223344556677' as Actor }, value: utf8(value) })
}

function member(storeId: StoreId, status: Liveness = 'alive', incarnation = 1): ViewMember {
  const clusterId = 'c1' as ClusterId
  return { storeId, peerId: storeId as string as PeerId, addresses: [], incarnation, status, clusterId, epoch: 1 }
}

const view = (...members: ViewMember[]) => new Map(members.map(entry => [entry.storeId, entry]))

describe('the checkers of states at rest', () => {
  it('see an owner that holds another record, or none, and ask nothing of others', () => {
    const held = new Map([
      [a, record(1, 'x')],
      [b, record(1, 'x')],
      [c, record(1, 'y')]
    ])
    assert.deepEqual(checkReplicas([{ key: 'k', owners: [a, b], held }]), [])
    assert.equal(checkReplicas([{ key: 'k', owners: [a, b, c], held }]).length, 1)
    assert.equal(checkReplicas([{ key: 'k', owners: [a, store('d')], held }]).length, 1)
    assert.deepEqual(checkReplicas([{ key: 'k', owners: [store('d'), store('e')], held }]), [])
  })

  it('see a view that lacks somebody, believes a dead node, or suspects a living one', () => {
    const right = view(member(a), member(b), member(c, 'dead'))
    assert.deepEqual(
      checkViews(
        new Map([
          [a, right],
          [b, right]
        ])
      ),
      []
    )
    for (const wrong of [
      view(member(a)),
      view(member(a), member(b), member(c)),
      view(member(a), member(b, 'suspect'))
    ]) {
      assert.equal(
        checkViews(
          new Map([
            [a, right],
            [b, wrong]
          ])
        ).length,
        1
      )
    }
  })

  it('see views that differ in an incarnation', () => {
    const views = new Map([
      [a, view(member(a), member(b, 'alive', 1))],
      [b, view(member(a), member(b, 'alive', 2))]
    ])
    assert.deepEqual(
      checkViews(views).map(({ rule }) => rule),
      ['views are equal at rest']
    )
  })

  it('see two leaders of one term, a second vote, and applied states that differ', () => {
    const checker = new ConsensusChecker()
    checker.leader('0', 1, a)
    checker.leader('0', 2, b)
    checker.leader('1', 1, b)
    checker.vote('0', 1, a, a)
    checker.vote('0', 1, a, a)
    checker.vote('0', 2, a, b)
    checker.applied('0', 7, a, 'x')
    checker.applied('0', 7, b, 'x')
    assert.deepEqual(checker.violations, [])
    checker.leader('0', 1, b)
    checker.vote('0', 1, a, b)
    checker.applied('0', 7, c, 'y')
    assert.deepEqual(
      checker.violations.map(({ rule }) => rule),
      ['one leader per term', 'one vote per term', 'applied prefixes are equal']
    )
  })

  it('see a quantity beyond its bound, or one that is no number', () => {
    const quantity = { node: 'n0', what: 'requests in flight', max: 10 }
    assert.deepEqual(checkBounds([{ ...quantity, value: 10 }]), [])
    assert.equal(checkBounds([{ ...quantity, value: 11 }]).length, 1)
    assert.equal(checkBounds([{ ...quantity, value: Number.NaN }]).length, 1)
  })

  it('see a timer or a call that a stopped node has left behind', () => {
    assert.deepEqual(checkLeftovers([{ node: 'n0', timers: 0, calls: 0 }]), [])
    assert.equal(checkLeftovers([{ node: 'n0', timers: 1, calls: 0 }]).length, 1)
    assert.equal(checkLeftovers([{ node: 'n0', timers: 0, calls: 1 }]).length, 1)
  })
})
