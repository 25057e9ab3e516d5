import assert from 'node:assert/strict'
import { runJob } from './job.ts'
import { scenarios } from './scenarios/index.ts'

/** Goal: a first look at each scenario with every run of the tests. `npm run sim` runs as many seeds as there is time for. */
describe('the production node, simulated', function () {
  // Far more than it takes: simulations have what other tests leave of the processors.
  this.timeout(600_000)

  for (const { name, goal } of scenarios.values()) {
    it(`${name}: ${goal}`, async () => {
      for (const seed of [1, 2, 3]) {
        const { violations, succeeded } = await runJob({ scenario: name, seed })
        assert.deepEqual(violations, [], `npm run sim -- --scenario ${name} --seed ${seed}`)
        assert.ok(succeeded > 100, `only ${succeeded} operations succeeded in seed ${seed}: nothing was tried`)
      }
    })
  }
})
