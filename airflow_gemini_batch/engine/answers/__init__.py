"""An output line becomes columns: ``responses`` judges it, ``joining`` finds its row, ``extras`` reads what was asked for."""
