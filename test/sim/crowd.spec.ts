import assert from 'node:assert/strict'
import { Crowd } from '../support/crowd.ts'
import { membershipBytes } from '../support/traffic.ts'

const MEMBERS = 40
const IDLE_MS = 60_000
const LOSSY_MS = 120_000

/**
 * Goal: what holds of five members holds of many. Method: production nodes in the simulator, whose time is virtual, so that the
 * figures are the same on every machine. `npm run bench -- control-plane` has a hundred of them for an hour.
 */
describe('forty members, simulated', function () {
  // Far more than it takes: simulations have what other tests leave of the processors.
  this.timeout(600_000)
  let crowd: Crowd

  before(async () => {
    crowd = await Crowd.form(MEMBERS, 'forty')
    // Whoever is new to each other has more to say.
    await crowd.world.advance(20_000)
  })

  it('carry 5 kB a second each of gossip, probes and links at most when idle, sent and received together', async () => {
    const carried = await crowd.carried(IDLE_MS)
    assert.equal(carried.size, MEMBERS)
    const perSecond = [...carried.values()].map(bytes => (membershipBytes(bytes) * 1000) / IDLE_MS)
    const mean = perSecond.reduce((sum, bytes) => sum + bytes, 0) / MEMBERS
    assert.ok(mean <= 5000, `${mean} bytes`)
    assert.ok(Math.min(...perSecond) > 2000, `${Math.min(...perSecond)} bytes: something is not counted`)
    // Whoever happens to publish more often than others in this minute.
    assert.ok(Math.max(...perSecond) <= 1.5 * mean, `${Math.max(...perSecond)} bytes`)
  })

  it('accuse nobody wrongly while one message in a hundred is lost', async () => {
    crowd.lose(100)
    await crowd.world.advance(LOSSY_MS)
    crowd.lose(0)
    assert.deepEqual(crowd.accusations, { suspected: 0, dead: 0 })
  })

  it('all hear of a newcomer within half a second, and of a goodbye at once', async () => {
    const joined = await crowd.join()
    assert.ok(joined.heard <= 500 && joined.member <= 1000, JSON.stringify(joined))
    const left = await crowd.leave(crowd.nodes.at(-2)!)
    assert.ok(left.heard <= 100, JSON.stringify(left))
  })

  it('all suspect a killed process within 1 s and hold it dead within 3', async () => {
    for (let i = 0; i < 3; i++) {
      await crowd.world.advance(700)
      const gone = await crowd.crash(crowd.nodes[10 + i]!, false)
      assert.ok(gone.suspected <= 1000 && gone.dead <= 3000, JSON.stringify(gone))
    }
  })

  it('all hold a machine dead within 6 s that is gone without closing a connection', async () => {
    for (let i = 0; i < 3; i++) {
      await crowd.world.advance(700)
      const gone = await crowd.crash(crowd.nodes[20 + i]!, true)
      assert.ok(gone.dead <= 6000, JSON.stringify(gone))
    }
  })

  it('are one cluster again when the dead are buried, and have accused nobody else', async () => {
    await crowd.settled()
    assert.equal(crowd.nodes.length, MEMBERS - 6)
    assert.deepEqual(crowd.accusations, { suspected: 0, dead: 0 })
  })
})
