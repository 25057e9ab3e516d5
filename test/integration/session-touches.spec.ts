import assert from 'node:assert/strict'
import { isKilovoltError } from 'kilovolt'
import { createSessionStore, type SessionData } from 'kilovolt/session'
import { NodeLab } from '../support/node-lab.ts'

describe('sessions on three nodes', () => {
  const lab = new NodeLab()
  after(() => lab.clear())

  it('take many requests of one visitor at a time, and end when the last of them said', async () => {
    const first = await lab.start({ warmUpMs: 0 })
    const nodes = [
      first,
      await lab.start({ bootstrap: first.addresses, warmUpMs: 0 }),
      await lab.start({ bootstrap: first.addresses, warmUpMs: 0 })
    ]
    await Promise.all(nodes.map(node => node.settled({ timeoutMs: 20_000 })))
    const keyspaces = nodes.map(node => node.keyspace<SessionData & { readonly user: string }>('sessions'))
    // Attempts of the keyspace are counted, not time: how fast it is depends on the machine.
    let touches = 0
    const stores = keyspaces.map(keyspace =>
      createSessionStore({
        get: (...call) => keyspace.get(...call),
        entries: (...call) => keyspace.entries(...call),
        count: (...call) => keyspace.count(...call),
        clear: (...call) => keyspace.clear(...call),
        put: (...call) => keyspace.put(...call),
        delete: (...call) => keyspace.delete(...call),
        touch: (...call) => {
          touches++
          return keyspace.touch(...call)
        }
      })
    )
    const endsAt = Date.now() + 600_000
    const sessionOf = (ms: number): { cookie: { expires: Date }; user: string } => ({
      cookie: { expires: new Date(endsAt + ms) },
      user: 'ada'
    })
    for (let round = 0; round < 5; round++) {
      await stores[0]!.set('s', sessionOf(0))
      const outcomes = await Promise.allSettled(
        Array.from({ length: 60 }, (_, i) => stores[i % 3]!.touch('s', sessionOf(i * 1000)))
      )
      const failed = outcomes.filter(outcome => outcome.status === 'rejected').map(({ reason }) => String(reason))
      assert.deepEqual(failed, [])
      const { value, ttl = 0 } = (await keyspaces[1]!.getEntry('s'))!
      assert.equal(value.user, 'ada')
      // Each node's last touch has the latest of its ends: 57, 58 or 59 s.
      const left = Date.now() + ttl - endsAt
      assert.ok(left > 50_000 && left < 62_000, `${left} ms`)
    }
    assert.ok(touches <= 5 * 3 * 2, `${touches} touches of the keyspace`)
    await stores[2]!.destroy('s')
    await stores[0]!.touch('s', sessionOf(0))
    assert.equal(await stores[1]!.get('s'), null)
    await nodes[2]!.stop()
    await assert.rejects(stores[2]!.touch('s', sessionOf(0)), error => isKilovoltError(error, 'KV_NODE_STOPPED'))
  }).timeout(60_000)
})
