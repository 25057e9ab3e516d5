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
})
