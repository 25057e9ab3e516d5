import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import { createDeferred } from '../../../src/base/deferred.ts'
import type { PeerId } from '../../../src/model/node-id.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { createCounters } from '../../../src/transport/counters.ts'
import type { Hello } from '../../../src/transport/hello.ts'
import type { Host, Link } from '../../../src/transport/host.ts'
import { Links } from '../../../src/transport/links.ts'

const PEER = 'peer' as PeerId
const never = new AbortController().signal

describe('the links of a node', () => {
  it('leave no timer behind when they are closed while one of them is being opened', async () => {
    const world = new SimWorld()
    const clock = world.clock('n0')
    const opening = createDeferred<Link>()
    const host: Partial<Host> = {
      self: 'self' as PeerId,
      on: () => () => {},
      open: () => opening.promise,
      disconnect() {}
    }
    const links = new Links({
      host: host as Host,
      clock,
      logger: silentLogger,
      counters: createCounters(),
      hello: () => ({}) as Hello,
      check: () => undefined,
      epoch: () => 0,
      tag: () => undefined,
      handlerOf: () => undefined,
      onUp() {},
      onDown() {},
      onRefused() {}
    })
    const linking = links.link(PEER, never)
    links.closeAll('the node stops')
    opening.reject(new KilovoltError('KV_ABORTED', 'the node stops'))
    await assert.rejects(linking, { code: 'KV_UNREACHABLE' })
    await new Promise(setImmediate)
    assert.equal(clock.pending, 0)
  })
})
