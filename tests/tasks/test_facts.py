"""The world of people: exposures follow Zipf's law, and a guild follows from the last name."""

from stages.tasks import facts

FACTS = facts.Params(seed=0, first_names=6, last_names=4, animals=8, guilds=2, most_exposures=40, unseen=0.25)


def test_exposures_follow_zipfs_law_and_every_eighth_is_never_stated():
    exposures = [person.exposures for person in facts.build_people(FACTS)]
    assert exposures[7::8] == [0, 0, 0]
    assert [count for count in exposures if count] == [max(1, round(40 / rank)) for rank in range(1, 22)]


def test_a_last_name_decides_the_guild():
    people = facts.build_people(FACTS)
    guild_of = {person.name.split()[1]: person.guild for person in people}
    assert all(person.guild == guild_of[person.name.split()[1]] for person in people)
    assert any(person.guild_stated for person in people) and not all(person.guild_stated for person in people)


def test_rows_hold_out_what_is_never_stated():
    rows = facts.rows(FACTS)
    assert len(rows) == 2 * 24 and len({row["id"] for row in rows}) == len(rows)
    arbitrary = [row for row in rows if row["kind"] == "arbitrary"]
    assert all((row["split"] == "train") == (row["exposures"] > 0) for row in arbitrary)
