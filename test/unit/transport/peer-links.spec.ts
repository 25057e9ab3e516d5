import assert from 'node:assert/strict'
import type { PeerId } from '../../../src/model/node-id.ts'
import { PeerLinks } from '../../../src/transport/peer-links.ts'
import type { Rpc } from '../../../src/transport/rpc.ts'
import type { TrafficClass } from '../../../src/transport/transport.ts'

const [A, B] = ['a', 'b'] as [PeerId, PeerId]

/** As much of an Rpc as matters here. */
function rpc(trafficClass: TrafficClass = 'control'): Rpc {
  return { class: trafficClass } as Rpc
}

describe('the links to one peer', () => {
  it('use one that is still opening until one is open', () => {
    const peer = new PeerLinks(A, B)
    const [opening, theirs] = [rpc(), rpc()]
    peer.opening(opening)
    assert.deepEqual([peer.rpc('control') === opening, peer.isLinked], [true, false])
    peer.opened(theirs, false, 0)
    assert.deepEqual([peer.rpc('control') === theirs, peer.isLinked], [true, true])
  })

  it('agree on the link that the smaller id has opened when both open one at once', () => {
    const [fromA, fromB] = [rpc(), rpc()]
    for (const order of [0, 1]) {
      const [atA, atB] = [new PeerLinks(A, B), new PeerLinks(B, A)]
      const steps = [
        () => assert.deepEqual([atA.opened(fromA, true, 100), atB.opened(fromA, false, 120)], [[], []]),
        () => assert.deepEqual([atA.opened(fromB, false, 130), atB.opened(fromB, true, 90)], [[], []])
      ]
      for (const step of order === 0 ? steps : steps.reverse()) step()
      assert.ok(atA.rpc('control') === fromA && atB.rpc('control') === fromA)
      atA.closed(fromA)
      assert.ok(atA.rpc('control') === fromB && atA.isLinked)
    }
  })

  it('believe whoever opens a link later that the other one is gone', () => {
    for (const [self, id] of [
      [A, B],
      [B, A]
    ] as const) {
      const peer = new PeerLinks(self, id)
      const [first, second, third] = [rpc(), rpc(), rpc()]
      peer.opened(first, true, 0)
      assert.deepEqual(peer.opened(second, false, 5000), [first])
      peer.closed(first)
      assert.ok(peer.rpc('control') === second)
      assert.deepEqual(peer.opened(third, false, 5100), [second])
      peer.closed(second)
      assert.ok(peer.rpc('control') === third)
    }
  })

  it('are linked by the control link alone, and idle without any', () => {
    const peer = new PeerLinks(A, B)
    const [data, control] = [rpc('data'), rpc('control')]
    assert.equal(peer.isIdle, true)
    peer.opened(data, true, 0)
    assert.deepEqual([peer.isLinked, peer.isIdle], [false, false])
    peer.opened(control, true, 0)
    assert.deepEqual([peer.isLinked, peer.all()], [true, [control, data]])
    peer.closed(control)
    peer.closed(data)
    assert.deepEqual([peer.isLinked, peer.isIdle, peer.all()], [false, true, []])
    peer.greetings++
    assert.equal(peer.isIdle, false)
  })
})
