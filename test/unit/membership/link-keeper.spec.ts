import assert from 'node:assert/strict'
import { LinkKeeper } from '../../../src/membership/link-keeper.ts'
import type { PeerId, StoreId } from '../../../src/model/node-id.ts'
import type { Liveness, ViewMember } from '../../../src/model/view.ts'

const SELF = 'self' as PeerId

function member(name: string, status: Liveness, port: number): ViewMember {
  return {
    storeId: name as StoreId,
    peerId: `peer-${name}` as PeerId,
    addresses: [`/ip4/10.0.0.1/tcp/${port}/p2p/peer-${name}`],
    incarnation: 1,
    status,
    clusterId: undefined,
    epoch: 0
  }
}

describe('the keeper of links', () => {
  let kept: Set<string>
  let keeper: LinkKeeper

  beforeEach(() => {
    kept = new Set()
    keeper = new LinkKeeper({ self: SELF, keep: peer => void kept.add(peer), drop: peer => void kept.delete(peer) })
  })

  function learn(before: ViewMember | undefined, after: ViewMember | undefined): string[] {
    keeper.update(0, { before, after })
    keeper.tick(0)
    return [...kept].toSorted()
  }

  it('keeps who is alive, suspected or dead, and not itself', () => {
    learn(undefined, member('a', 'alive', 1))
    learn(undefined, { ...member('me', 'alive', 2), peerId: SELF })
    learn(undefined, member('b', 'suspect', 3))
    assert.deepEqual(learn(member('a', 'alive', 1), member('a', 'dead', 1)), ['peer-a', 'peer-b'])
  })

  it('lets go of who has left, when its goodbye is answered, and of who is forgotten', () => {
    learn(undefined, member('a', 'alive', 1))
    learn(undefined, member('b', 'dead', 2))
    assert.deepEqual(learn(member('a', 'alive', 1), member('a', 'left', 1)), ['peer-a', 'peer-b'])
    keeper.tick(2000)
    assert.deepEqual(learn(member('b', 'dead', 2), undefined), [])
  })

  it('lets go of a dead one in whose place another lives, whichever it hears of first', () => {
    learn(undefined, member('a', 'alive', 1))
    learn(member('a', 'alive', 1), member('a', 'dead', 1))
    assert.deepEqual(learn(undefined, member('b', 'alive', 1)), ['peer-b'])
    assert.deepEqual(learn(member('a', 'dead', 1), { ...member('a', 'dead', 1), incarnation: 2 }), ['peer-b'])
    learn(undefined, member('c', 'alive', 5))
    learn(undefined, member('d', 'alive', 5))
    assert.deepEqual(learn(member('c', 'alive', 5), member('c', 'dead', 5)), ['peer-b', 'peer-d'])
  })

  it('keeps a suspected one though another says it lives there: it may be that one that errs', () => {
    learn(undefined, member('a', 'suspect', 1))
    assert.deepEqual(learn(undefined, member('b', 'alive', 1)), ['peer-a', 'peer-b'])
  })

  it('keeps it again when it turns out to live', () => {
    learn(undefined, member('b', 'alive', 1))
    assert.deepEqual(learn(undefined, member('a', 'dead', 1)), ['peer-b'])
    assert.deepEqual(learn(member('a', 'dead', 1), member('a', 'alive', 1)), ['peer-a', 'peer-b'])
  })
})
