import assert from 'node:assert/strict'
import { type FoundingState, Survey } from '../../../src/cluster/survey.ts'
import type { Membership } from '../../../src/membership/membership.ts'
import type { PeerId } from '../../../src/model/node-id.ts'
import type { ViewMember } from '../../../src/model/view.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import type { MessageHandler, Outcome, Transport } from '../../../src/transport/transport.ts'
import { CLUSTER, peer, seen, store } from './fixtures.ts'

/** Node 1 in the midst of others whose surveys are asked directly. */
class Bench {
  readonly world: SimWorld = new SimWorld()
  readonly clock: SimClock = this.world.clock('n')
  readonly asked: string[] = []
  readonly handlers = new Map<string, MessageHandler>()
  readonly links: PeerId[] = []
  readonly view: ViewMember[] = [seen(1)]
  state: FoundingState | undefined = { counts: true, mayFound: true }
  readonly survey: Survey = this.#survey(1, () => this.state)

  /** Another linked node; `undefined`: a member. */
  add(n: number, state: FoundingState | undefined, more: Partial<ViewMember> = {}): void {
    this.view.push(seen(n, more))
    this.links.push(peer(n))
    this.#survey(n, () => state).listen()
  }

  #survey(n: number, state: () => FoundingState | undefined): Survey {
    const { clock, asked, handlers, links, view } = this
    const transport = {
      links: () => links,
      handle: (_type: number, handler: MessageHandler) => void handlers.set(peer(n), handler),
      request: (to: PeerId, { body }: { body: Uint8Array }, done: (outcome: Outcome) => void) => {
        asked.push(to)
        handlers.get(to)?.(
          { from: peer(n), epoch: 0, body },
          { reply: answer => done({ kind: 'reply', epoch: 0, body: answer }), refuse: () => {} }
        )
      }
    }
    const membership = {
      self: seen(n),
      get view() {
        return new Map(view.map(one => [one.storeId, one]))
      }
    }
    // The slice that a survey uses.
    return new Survey({
      transport: transport as unknown as Transport,
      membership: membership as unknown as Membership,
      clock,
      state
    })
  }
}

describe('the survey before founding', () => {
  it('learns who counts and who may found', () => {
    const bench = new Bench()
    bench.add(2, { counts: true, mayFound: true })
    bench.add(3, { counts: true, mayFound: false })
    bench.add(4, undefined)
    bench.survey.ask()
    const answers = [2, 3, 4, 5].map(n => bench.survey.stateOf(store(n)))
    assert.deepEqual(
      answers.map(answer => answer && [answer.counts, answer.mayFound]),
      [[true, true], [true, false], [false, false], undefined]
    )
  })

  it('asks each twice a second at most, and nobody who is a member or has no link', async () => {
    const bench = new Bench()
    bench.add(2, { counts: true, mayFound: true })
    bench.add(3, undefined, { clusterId: CLUSTER })
    bench.view.push(seen(4))
    for (let i = 0; i < 20; i++) {
      bench.survey.ask()
      await bench.world.advance(50)
    }
    assert.deepEqual(bench.asked, ['peer-2', 'peer-2'])
  })

  it('forgets an answer that is not renewed', async () => {
    const bench = new Bench()
    bench.add(2, { counts: true, mayFound: true })
    bench.survey.ask()
    bench.links.length = 0
    await bench.world.advance(1400)
    bench.survey.ask()
    assert.ok(bench.survey.stateOf(store(2)) !== undefined)
    await bench.world.advance(200)
    assert.equal(bench.survey.stateOf(store(2)), undefined)
  })

  it('takes nothing from who answers nonsense, or for a stranger', async () => {
    const bench = new Bench()
    bench.add(2, { counts: true, mayFound: true })
    const nonsense = [new Uint8Array(0), new Uint8Array(5), new Uint8Array(17).fill(255)]
    for (const body of nonsense) {
      bench.handlers.set('peer-2', (_message, respond) => respond.reply(body))
      bench.survey.ask()
      await bench.world.advance(500)
    }
    assert.deepEqual(bench.asked, ['peer-2', 'peer-2', 'peer-2'])
    assert.equal(bench.survey.stateOf(store(2)), undefined)
    assert.equal(bench.survey.stateOf(store(255)), undefined)
  })
})
