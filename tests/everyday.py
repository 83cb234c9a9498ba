"""Small documents as people keep them, and what they ask of them."""

from __future__ import annotations

HOUSE = {
    "pump.md": "# Pump\n\n## Service\n\nReplace the seal every 400 hours of operation. Use part QX-2291.\n"
    "Grease the bearing once a month.\n\n## Faults\n\nA rattling noise means air in the line: open the bleed valve"
    " until water comes without bubbles.\nIf the motor trips, check the fuse F3 (10 A).\n",
    "holidays.txt": "Holiday rules of the office\n\nEveryone has 28 days of paid leave a year. Up to five days may be"
    " carried over until the end of March.\nRequests go to Dana Whitfield at least two weeks ahead.\nBetween Christmas"
    " and New Year the office is closed; these days don't count as leave.\n",
    "lease.md": "# Lease, 14 Mill Lane\n\nThe rent is 1,150 euros a month, due on the third working day.\nThe deposit"
    " of 2,300 euros lies on a savings account in the tenant's name.\nNotice must be given three months ahead, in"
    " writing."
    "\nPets need the landlord's consent; small animals such as hamsters don't.\nThe heating is serviced every autumn by"
    " Kessler & Sons.\n",
    "bread.md": "# Rye bread\n\nMix 500 g of rye flour, 350 ml of water, 10 g of salt and 100 g of sourdough starter.\n"
    "Let the dough rest for twelve hours at room temperature.\nBake at 230 degrees for fifteen minutes, then at 190"
    " degrees for forty.\nThe loaf keeps for a week in a linen bag.\n",
    "router.md": "# Home network\n\n## Access\n\nThe router's address is 192.168.8.1. The administrator is called"
    " netadmin.\nThe guest network is named Birchwood-Guest and is switched off at midnight.\n\n## When it fails\n\n"
    "A red light means that the provider's line is down: wait ten minutes, then call 0800 4471.\nHold the reset button"
    " for eight seconds to restore factory settings.\n",
}
HOUSE_ANSWERS = {
    "When is the seal replaced, and which part is it?": "400 hours",
    "What does a rattling noise mean?": "air in the line",
    "Which part is the seal?": "QX-2291",
    "How often do I grease the bearing?": "once a month",
    "Why does the motor trip?": "fuse F3",
    "How many days off do I get?": "28 days",
    "Who approves vacation requests?": "Dana Whitfield",
    "Can I keep unused holiday for next year?": "carried over",
    "Is the office open between the years?": "closed",
    "How much is the rent?": "1,150",
    "Where is the deposit kept?": "savings account",
    "May I have a dog?": "Pets need",
    "How long is the notice period?": "three months",
    "Who looks after the heating?": "Kessler",
    "How hot must the oven be?": "230 degrees",
    "How much flour is needed?": "500 g",
    "How long does the bread stay fresh?": "a week",
    "What is the wifi called for visitors?": "Birchwood-Guest",
    "How do I log in to the router?": "192.168.8.1",
    "What should I do when the light turns red?": "wait ten minutes",
    "How do I reset it to factory settings?": "eight seconds",
}
"""Questions, and words of the sentence that answers them."""

CLUB = {
    "club.md": "# Rowing club\n\nMembers pay 24 euros a month; students pay half. The boathouse is open from six in the"
    " morning until dusk.\nBoats are booked with Ines Okafor, and every outing is written into the log before it"
    " starts.\nNobody rows alone below eight degrees of water temperature.\n",
    "minutes.txt": "Minutes of 12 May\n\nThe roof will be repaired in August for 8,400 euros; the offer of Lindqvist"
    " was accepted.\nThe old van is to be sold. Marta looks for a buyer until the next meeting.\nThe summer party"
    " was moved"
    " to 28 June because of the regatta.\n",
    "bike.md": "# Bicycle\n\nTyre pressure: 4 bar in front, 4.5 bar behind.\nOil the chain after every ride in the rain"
    " and wipe it dry.\nThe frame number WTU 305 K is stamped below the bottom bracket.\nBrake pads are worn out when"
    " less than one millimetre is left.\n",
    "clinic.txt": "Practice Dr. Amsel\n\nAppointments: 555 0193, weekdays from eight to noon.\nBring the insurance card"
    " and a list of your medicines. Do not eat for twelve hours before a blood test.\nPrescriptions can be picked up"
    " the day after they were ordered.\n",
    "garden.md": "# Garden\n\n## Tomatoes\n\nSow in March on the windowsill, plant out after the last frost in the"
    " middle of May.\nWater in the morning, never over the leaves.\n\n## Hedge\n\nThe hornbeam is cut in June and"
    " once more in"
    " September. The trimmer hangs behind the shed door.\n",
}
CLUB_ANSWERS = {
    "What does membership cost?": "24 euros",
    "Do students get a discount?": "half",
    "When does the boathouse open?": "six in the morning",
    "Who do I ask for a boat?": "Ines Okafor",
    "When may I not row alone?": "eight degrees",
    "What did the roof repair cost?": "8,400",
    "Who is selling the van?": "Marta",
    "Why was the party moved?": "regatta",
    "How much air goes into the rear tyre?": "4.5 bar",
    "When should the chain be oiled?": "in the rain",
    "Where do I find the frame number?": "bottom bracket",
    "How do I know that the brake pads are worn?": "one millimetre",
    "What is the doctor's phone number?": "555 0193",
    "May I have breakfast before the blood test?": "twelve hours",
    "What should I bring to the practice?": "insurance card",
    "When are tomatoes planted outside?": "middle of May",
    "How should I water the tomatoes?": "in the morning",
    "When is the hedge trimmed?": "in June",
    "Where is the hedge trimmer?": "shed door",
    "When can I collect my prescription?": "the day after",
}

STRANGERS = (
    "Who wrote the novel Moby Dick?", "What is the capital of Australia?", "How do I renew my passport?",
    "What is the boiling point of ethanol?", "Who is the president of France?", "How tall is Mount Everest?",
    "What are the symptoms of diabetes?", "Who won the world cup in 1998?", "Who painted the Mona Lisa?",
    "How far is it to the moon?", "Which currency is used in Japan?", "What causes earthquakes?",
)  # fmt: skip
"""Questions on nothing in either folder."""
NEAR = (
    "What is the price of the pump?", "Which colour is the router?", "How many people work in the office?",
    "When was the house built?", "How many calories does the bread have?", "How many members does the club have?",
    "Which brand is the bicycle?", "How old is the doctor?", "How large is the garden?", "Who is the landlord?",
)  # fmt: skip
"""Questions on what the folders speak of, without an answer in them."""
