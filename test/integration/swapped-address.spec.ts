import assert from 'node:assert/strict'
import { Libp2pLab } from '../support/libp2p-lab.ts'
import { createPeerKey } from '../../src/transport/peer-key.ts'

const never = new AbortController().signal

/** The place of an address, without who is there. */
function placeOf(address: string): string {
  return address.replace(/\/p2p\/.*/u, '')
}

describe('an address that another node has got', () => {
  const lab = new Libp2pLab()

  afterEach(() => lab.close())

  it('is dialed for that one, though the one that was there is connected from elsewhere', async () => {
    const peerKey = await createPeerKey()
    const [here, old] = [await lab.create(), await lab.create({ peerKey })]
    await Promise.all([here.start(), old.start()])
    const place = placeOf(old.addresses[0]!)
    assert.equal(await here.connect(`${place}/p2p/${old.self}`, never), old.self)
    await old.stop()
    await lab.until(() => !here.isConnected(old.self), 'the end of the connection')
    const moved = await lab.create({ peerKey })
    const other = await lab.create({ listen: [place] })
    await Promise.all([moved.start(), other.start()])
    assert.equal(await here.connect(moved.addresses[0]!, never), moved.self)
    assert.equal(await here.connect(`${place}/p2p/${other.self}`, never), other.self)
    assert.ok(here.isConnected(moved.self) && here.isConnected(other.self))
  })

  it('is dialed once for all who want somebody there, and the one who is there is left to who wanted that one', async () => {
    const [here, there, gone] = [await lab.create(), await lab.create(), await lab.create()]
    await Promise.all([here, there, gone].map(host => host.start()))
    const place = placeOf(there.addresses[0]!)
    for (const isFirst of [true, false]) {
      const wanted = isFirst ? [there, gone] : [gone, there]
      const dials = wanted.map(async ({ self }) => {
        const peer = await here.connect(`${place}/p2p/${self}`, never)
        return here.open(peer, 'data', never)
      })
      const [one, other] = isFirst ? dials : dials.toReversed()
      await assert.rejects(other!, { code: 'KV_UNREACHABLE' })
      const link = await one!
      await lab.pass(2500)
      assert.ok(here.isConnected(there.self))
      link.close('done')
      here.disconnect(there.self, 'done')
      await lab.until(() => !here.isConnected(there.self), 'the end of the connection')
    }
  }).timeout(20_000)

  it('is left again when nobody who is wanted is there', async () => {
    const [here, there, gone] = [await lab.create(), await lab.create(), await lab.create()]
    await Promise.all([here, there, gone].map(host => host.start()))
    const dial = here.connect(`${placeOf(there.addresses[0]!)}/p2p/${gone.self}`, never)
    await assert.rejects(dial, { code: 'KV_UNREACHABLE' })
    await lab.until(() => !here.isConnected(there.self), 'the end of the connection')
  })
})
