import assert from 'node:assert/strict'
import type { MessageStream, Stream } from '@libp2p/interface'
import { yamux } from '@chainsafe/libp2p-yamux'
import { tameMuxer, tameWindowUpdates } from '../../../src/transport/window-updates.ts'

/** As much of a yamux stream as matters, with a window of 1,000 of which `free` are left. */
function fakeStream(state: number, free: number, send: () => void) {
  return { state, recvWindow: 1000, recvWindowCapacity: free, sendWindowUpdate: send }
}

/** What libp2p does when the connection is gone. */
function lost(): never {
  throw new Error('Cannot write to a stream that is closed')
}

describe('window updates', () => {
  it('are sent when half of the window is used, or the stream is not open yet', () => {
    let sent = 0
    const cases = [fakeStream(3, 900, () => sent++), fakeStream(3, 500, () => sent++), fakeStream(0, 900, () => sent++)]
    for (const stream of cases) {
      assert.ok(tameWindowUpdates(stream as unknown as Stream))
      stream.sendWindowUpdate()
    }
    assert.equal(sent, 2)
  })

  it('throw nothing when the connection is gone', () => {
    const stream = fakeStream(3, 0, lost)
    tameWindowUpdates(stream as unknown as Stream)
    assert.doesNotThrow(() => stream.sendWindowUpdate())
  })

  it('are tamed from the first moment of a stream on', () => {
    const muxer = {
      _newStream: () => fakeStream(0, 1000, lost),
      sendGoAway: lost
    }
    assert.ok(tameMuxer(muxer))
    assert.doesNotThrow(() => muxer._newStream().sendWindowUpdate())
    assert.doesNotThrow(() => muxer.sendGoAway(), 'nor does the goodbye')
    assert.equal(tameMuxer({}), false)
  })

  it('of the muxer that is used are among those', () => {
    const log = { newScope: () => ({ trace: () => {} }) }
    const connection = { addEventListener: () => {}, direction: 'outbound', log }
    const muxer = yamux({ enableKeepAlive: false })().createStreamMuxer(connection as unknown as MessageStream)
    assert.ok(tameMuxer(muxer), 'yamux has changed: see docs/decisions/0007')
  })

  it('of any other stream are left alone', () => {
    assert.equal(tameWindowUpdates({} as Stream), false)
  })
})
